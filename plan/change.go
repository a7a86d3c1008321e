package plan

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/banyanhq/banyan/queueing"
)

// change is one thing to do differently.
type change struct {
	what     string
	service  string
	replicas int     // set to, 0: unchanged
	cpu      float64 // set to, 0: unchanged
	cores    float64 // added to the machine
}

func (c change) apply(o Options) Options {
	o.Replicas, o.CPU = maps.Clone(o.Replicas), maps.Clone(o.CPU)
	if c.replicas > 0 {
		if o.Replicas == nil {
			o.Replicas = map[string]int{}
		}
		o.Replicas[c.service] = c.replicas
	}
	if c.cpu > 0 {
		if o.CPU == nil {
			o.CPU = map[string]float64{}
		}
		o.CPU[c.service] = c.cpu
	}
	return o
}

// changes lists, for each service, one replica more and, where it has a limit, twice the CPU; and one core more for
// the machine.
func (m *model) changes() []change {
	var list []change
	for _, s := range m.services {
		if s.name == Gateway || s.name == Client {
			continue
		}
		list = append(list, change{what: fmt.Sprintf("%s: %d -> %d replicas", s.name, s.replicas, s.replicas+1), service: s.name, replicas: s.replicas + 1})
		if s.limit > 0 {
			list = append(list, change{what: fmt.Sprintf("%s: cpu %g -> %g", s.name, s.limit, 2*s.limit), service: s.name, cpu: 2 * s.limit})
		}
	}
	return append(list, change{what: fmt.Sprintf("machine: %g -> %g cores", m.cores, m.cores+1), cores: 1})
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// percentile reads a key such as p99 or p99.9 as a share.
func percentile(key string) (float64, error) {
	v, err := strconv.ParseFloat(strings.TrimPrefix(key, "p"), 64)
	if err != nil || !strings.HasPrefix(key, "p") || v <= 0 || v >= 100 {
		return 0, fmt.Errorf("percentile %q: want p and a number between 0 and 100, such as p99", key)
	}
	return v / 100, nil
}

func quantile(mean, variance, q float64) (float64, error) {
	return queueing.FittedQuantile(mean, variance, q)
}
