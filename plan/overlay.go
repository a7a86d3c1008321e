package plan

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/banyanhq/banyan/topology"
)

// Overlay is a topology file that, laid over the planned system's, makes the changes of a remedy (and those that the
// options had planned with already). It is an error where no remedy is needed or none is possible.
func Overlay(sys *topology.System, o Options, r Remedy) ([]byte, error) {
	switch {
	case !r.Possible:
		return nil, fmt.Errorf("no remedy was found: %s", r.Why)
	case !r.Needed:
		return nil, errors.New("no change is needed")
	}
	sizes := map[string]Size{}
	for name, svc := range sys.Services {
		size := Size{Replicas: max(svc.Replicas.Min, 1), CPU: float64(svc.Limits.CPU)}
		planned := size
		if n, ok := o.Replicas[name]; ok {
			planned.Replicas = max(n, 1)
		}
		if cpu, ok := o.CPU[name]; ok {
			planned.CPU = cpu
		}
		if changed, ok := r.Services[name]; ok {
			planned = changed
		}
		if planned != size {
			sizes[name] = planned
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# %s, as large as it must be. Lay it over the system's own file: banyan -f FILE -f THIS up\n", sys.Name)
	if r.Cores > 0 {
		fmt.Fprintf(&b, "machine:\n  cores: %s\n", topology.CPU(r.Cores))
	}
	if len(sizes) > 0 {
		b.WriteString("services:\n")
	}
	for _, name := range sortedKeys(sizes) {
		size, svc := sizes[name], sys.Services[name]
		fmt.Fprintf(&b, "  %s:\n    replicas: {min: %d, max: %d}\n", name, size.Replicas, max(size.Replicas, svc.Replicas.Max))
		if size.CPU != float64(svc.Limits.CPU) {
			fmt.Fprintf(&b, "    limits: {cpu: %s}\n", topology.CPU(size.CPU))
		}
	}
	tables := ""
	for _, name := range sortedKeys(r.Services) {
		if isTable(name) {
			tables += fmt.Sprintf("  %s: {cpu: %s}\n", strings.TrimPrefix(name, "tables."), topology.CPU(r.Services[name].CPU))
		}
	}
	if tables != "" {
		b.WriteString("tables:\n" + tables)
	}
	return []byte(b.String()), nil
}

// ParseHorizon reads a span to plan for, such as 18months, 2years, 6weeks or 90d.
func ParseHorizon(text string) (time.Duration, error) {
	text = strings.TrimSpace(text)
	split := len(text) - len(strings.TrimLeft(text, "0123456789."))
	unit := strings.TrimSuffix(strings.TrimSpace(text[split:]), "s")
	if length := period(topology.GrowthRate{Period: unit}); length > 0 {
		n, err := strconv.ParseFloat(text[:split], 64)
		if span := n * float64(length); err == nil && span > 0 && span <= float64(maxHorizon) {
			return time.Duration(span), nil
		}
	} else if d, err := topology.ParseDuration(text); err == nil && d > 0 && d.Std() <= maxHorizon {
		return d.Std(), nil
	}
	return 0, fmt.Errorf("%q: want a span of up to 100 years such as 18months, 2years, 6weeks or 90d", text)
}
