// Command etcd is the server of go.etcd.io/etcd, built from its module: what Quorate is compared with.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() { etcdmain.Main(os.Args) }
