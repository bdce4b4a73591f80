//! Side-by-side measurements of Quorate and etcd
