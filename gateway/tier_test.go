package gateway

import (
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/banyanhq/banyan/reactor"
)

// fullTierOnly makes start leave out the fast tier.
var fullTierOnly bool

// tiered are the names of the tests that have started a gateway: for the others it is the same whichever tier there is.
var tiered struct {
	sync.Mutex
	names map[string]bool
}

// dependsOnTier remembers that a test has started a gateway.
func dependsOnTier(t testing.TB) {
	name, _, _ := strings.Cut(t.Name(), "/")
	tiered.Lock()
	defer tiered.Unlock()
	if tiered.names == nil {
		tiered.names = map[string]bool{}
	}
	tiered.names[name] = true
}

// runOnBothTiers runs all tests with the fast tier, and those that depend on it once more with the full tier alone.
func runOnBothTiers(m *testing.M) (code int) {
	flag.Parse()
	asked := func(name string) bool { return flag.Lookup(name).Value.String() != "" }
	if code = m.Run(); code != 0 || !reactor.Supported || asked("test.bench") || asked("test.fuzz") || asked("test.list") {
		return code
	}
	if !strings.Contains(flag.Lookup("test.run").Value.String(), "/") { // otherwise it says which parts of a test are to run
		if len(tiered.names) == 0 {
			return code
		}
		again := "^(" + strings.Join(slices.Sorted(maps.Keys(tiered.names)), "|") + ")$"
		if err := flag.Set("test.run", again); err != nil {
			fmt.Println(err)
			return 1
		}
	}
	fullTierOnly = true
	if code = m.Run(); code != 0 {
		fmt.Println("with the full tier alone")
	}
	return code
}
