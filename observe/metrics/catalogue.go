package metrics

import (
	"maps"
	"sync"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/metadata"
)

// Bounds of what is remembered of metrics' descriptions.
const (
	maxDescribed = 50_000
	maxHelp      = 1024
)

// catalogue remembers what metrics are, by the name of their family, as the last origin described them.
type catalogue struct {
	mu  sync.Mutex
	all map[string]metadata.Metadata
}

// Metadata says what metrics are, by the name of their family. With a name: only that.
func (s *Store) Metadata(name string) map[string]metadata.Metadata {
	s.metadata.mu.Lock()
	defer s.metadata.mu.Unlock()
	if name == "" {
		return maps.Clone(s.metadata.all)
	}
	if m, ok := s.metadata.all[name]; ok {
		return map[string]metadata.Metadata{name: m}
	}
	return nil
}

func (c *catalogue) set(name []byte, change func(*metadata.Metadata)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m, ok := c.all[string(name)]
	if !ok && (len(c.all) >= maxDescribed || len(name) > maxHelp) {
		return
	}
	before := m
	if change(&m); ok && m == before {
		return
	}
	if c.all == nil {
		c.all = map[string]metadata.Metadata{}
	}
	if m.Type == "" {
		m.Type = model.MetricTypeUnknown
	}
	c.all[string(name)] = m
}

func clipped(b []byte) string { return string(b[:min(len(b), maxHelp)]) }

func (c *catalogue) setType(name []byte, t model.MetricType) {
	c.set(name, func(m *metadata.Metadata) { m.Type = t })
}

func (c *catalogue) setHelp(name, help []byte) {
	c.set(name, func(m *metadata.Metadata) {
		if m.Help != string(help) {
			m.Help = clipped(help)
		}
	})
}

func (c *catalogue) setUnit(name, unit []byte) {
	c.set(name, func(m *metadata.Metadata) {
		if m.Unit != string(unit) {
			m.Unit = clipped(unit)
		}
	})
}
