//! The Kubernetes operator that runs Quorate clusters
