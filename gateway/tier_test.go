package gateway

import (
	"flag"
	"fmt"
	"testing"

	"github.com/banyanhq/banyan/reactor"
)

// fullTierOnly makes start leave out the fast tier.
var fullTierOnly bool

// runOnBothTiers runs all tests with the fast tier, and once more with the full tier alone.
func runOnBothTiers(m *testing.M) (code int) {
	flag.Parse()
	asked := func(name string) bool { return flag.Lookup(name).Value.String() != "" }
	if code = m.Run(); code != 0 || !reactor.Supported || asked("test.bench") || asked("test.fuzz") || asked("test.list") {
		return code
	}
	fullTierOnly = true
	if code = m.Run(); code != 0 {
		fmt.Println("with the full tier alone")
	}
	return code
}
