package gateway

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/banyanhq/banyan/gateway/reactor"
)

// fullTierOnly makes start leave out the fast tier.
var fullTierOnly bool

// TestMain runs all tests with the fast tier, and once more with the full tier alone.
func TestMain(m *testing.M) {
	flag.Parse()
	code := m.Run()
	once := func(name string) bool { return flag.Lookup(name).Value.String() != "" }
	if code == 0 && reactor.Supported && !once("test.bench") && !once("test.fuzz") && !once("test.list") {
		fullTierOnly = true
		if code = m.Run(); code != 0 {
			fmt.Println("with the full tier alone")
		}
	}
	os.Exit(code)
}
