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
	if len(sys.Functions) > 0 {
		parts = append(parts, "functions: not supported yet")
	}
	parts = append(parts, unsupportedTables(sys)...)
	parts = append(parts, unsupportedLogs(sys)...)
	if len(parts) == 0 {
		return nil
	}
	return fmt.Errorf("this version cannot run the whole file: %s", strings.Join(parts, "; "))
}
