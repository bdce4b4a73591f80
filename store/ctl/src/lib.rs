//! quoratectl: etcdctl's commands for Quorate
