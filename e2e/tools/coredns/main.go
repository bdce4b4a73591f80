// Command coredns is CoreDNS with only the plugins that cluster DNS and the tests' own zones need, so that it builds in a minute.
package main

import (
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"

	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/file"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/log"
	_ "github.com/coredns/coredns/plugin/loop"
	_ "github.com/coredns/coredns/plugin/ready"
	_ "github.com/coredns/coredns/plugin/reload"
)

// Plugins run in the order of this list, whatever the Corefile says.
func init() {
	dnsserver.Directives = []string{"reload", "health", "ready", "errors", "log", "cache", "file", "kubernetes", "loop"}
}

func main() { coremain.Run() }
