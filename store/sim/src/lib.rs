//! A whole Quorate cluster under one seed, with faults and checkers
