package app

import (
	"fmt"
	"strings"

	"github.com/banyanhq/banyan/topology"
)

// Unsupported says which parts of a valid file this version cannot run, nil if it can run all of them. Check and plan
// accept them all the same.
func Unsupported(sys *topology.System) error {
	var parts []string
	for _, p := range []struct {
		n    int
		what string
	}{{len(sys.Tables), "tables"}, {len(sys.Functions), "functions"}} {
		if p.n > 0 {
			parts = append(parts, p.what+": not supported yet")
		}
	}
	parts = append(parts, unsupportedBus(sys)...)
	parts = append(parts, unsupportedLogs(sys)...)
	if len(parts) == 0 {
		return nil
	}
	return fmt.Errorf("this version cannot run the whole file: %s", strings.Join(parts, "; "))
}
