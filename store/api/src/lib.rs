//! The wire contract: etcd's v3 messages and services, quorate.v1.Admin, and the error table
