package rules

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
)

// Source is a list of groups and where they came from: a file, or a part of the topology.
type Source struct {
	Name   string
	Groups []rulefmt.RuleGroup
}

// maxFile bounds a file of rules.
const maxFile = 8 << 20

// Load reads files of rules in Prometheus's format. Patterns such as rules/*.yml are expanded; one that matches nothing is
// an error.
func Load(patterns ...string) ([]Source, error) {
	var sources []Source
	for _, pattern := range patterns {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			return nil, fmt.Errorf("rules %s: %w", pattern, err)
		}
		if len(paths) == 0 {
			return nil, fmt.Errorf("rules %s: there is no such file", pattern)
		}
		slices.Sort(paths)
		for _, path := range paths {
			s, err := loadFile(path)
			if err != nil {
				return nil, err
			}
			sources = append(sources, s)
		}
	}
	return sources, nil
}

func loadFile(path string) (Source, error) {
	f, err := os.Open(path)
	if err != nil {
		return Source{}, fmt.Errorf("rules: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("larger than %d bytes", maxFile)
	}
	if err != nil {
		return Source{}, fmt.Errorf("rules %s: %w", path, err)
	}
	return Parse(path, data)
}

// Parse reads rules in Prometheus's format.
func Parse(name string, data []byte) (Source, error) {
	groups, errs := rulefmt.Parse(data, false, model.UTF8Validation, parser.NewParser(parser.Options{}), slog.New(slog.DiscardHandler))
	if len(errs) > 0 {
		return Source{}, fmt.Errorf("rules %s: %w", name, errors.Join(errs...))
	}
	return Source{name, groups.Groups}, nil
}

// group is one that is being evaluated.
type group struct {
	file     string
	name     string
	interval time.Duration
	offset   time.Duration
	limit    int
	rules    []*rule

	last time.Time
	took time.Duration
}

// rule is a recording rule, or an alerting rule where alert is true.
type rule struct {
	alert       bool
	name        string
	expr        parser.Expr
	query       string
	hold        time.Duration
	keep        time.Duration
	labels      labels.Labels
	annotations labels.Labels

	active   map[uint64]*Alert
	restored bool
	written  map[uint64]labels.Labels // series of the last evaluation

	health string
	err    error
	last   time.Time
	took   time.Duration
}

// compile makes groups of what was read.
func compile(sources []Source, interval time.Duration) ([]*group, error) {
	var groups []*group
	seen := map[[2]string]bool{}
	p := parser.NewParser(parser.Options{})
	for _, s := range sources {
		for _, g := range s.Groups {
			if k := [2]string{s.Name, g.Name}; seen[k] {
				return nil, fmt.Errorf("rules %s: group %s stands twice", s.Name, g.Name)
			} else {
				seen[k] = true
			}
			out := &group{file: s.Name, name: g.Name, interval: time.Duration(g.Interval), limit: g.Limit}
			if out.interval == 0 {
				out.interval = interval
			}
			if g.QueryOffset != nil {
				out.offset = time.Duration(*g.QueryOffset)
			}
			for _, r := range g.Rules {
				c, err := compileRule(p, r, g.Labels)
				if err != nil {
					return nil, fmt.Errorf("rules %s, group %s: %w", s.Name, g.Name, err)
				}
				out.rules = append(out.rules, c)
			}
			groups = append(groups, out)
		}
	}
	return groups, nil
}

func compileRule(p parser.Parser, r rulefmt.Rule, groupLabels map[string]string) (*rule, error) {
	name := r.Record
	if r.Alert != "" {
		name = r.Alert
	}
	expr, err := p.ParseExpr(r.Expr)
	if err != nil {
		return nil, fmt.Errorf("rule %s: %w", name, err)
	}
	own := map[string]string{}
	for _, set := range []map[string]string{groupLabels, r.Labels} {
		for k, v := range set {
			own[k] = v
		}
	}
	return &rule{alert: r.Alert != "", name: name, expr: expr, query: expr.String(), hold: time.Duration(r.For), keep: time.Duration(r.KeepFiringFor),
		labels: labels.FromMap(own), annotations: labels.FromMap(r.Annotations), active: map[uint64]*Alert{}, health: "unknown"}, nil
}
