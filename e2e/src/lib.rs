//! Scenarios against real servers, and a real Kubernetes on one machine
