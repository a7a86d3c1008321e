package topology

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// EventFilter says which events a subscription gets, by their attributes: the expressions of CloudEvents Subscriptions, without SQL.
type EventFilter struct {
	dialect          string // exact, prefix or suffix of an attribute; all, any or not of parts
	attribute, value string
	parts            []*EventFilter
}

// Bounds of a filter.
const (
	maxFilterDepth = 8
	maxFilterParts = 100
	maxFilterValue = 1024
)

var attributeName = regexp.MustCompile(`^[a-z0-9]{1,64}$`)

// ParseEventFilter reads what stands in a file or in JSON: one expression, or a list of which all must hold.
func ParseEventFilter(v any) (*EventFilter, error) {
	left := maxFilterParts
	if list, ok := v.([]any); ok {
		return parseParts("all", list, 1, &left)
	}
	return parseFilter(v, 1, &left)
}

var filterDialects = []string{"exact", "prefix", "suffix", "all", "any", "not"}

func parseFilter(v any, depth int, left *int) (*EventFilter, error) {
	if *left--; *left < 0 {
		return nil, fmt.Errorf("the filter has more than %d parts", maxFilterParts)
	}
	if depth > maxFilterDepth {
		return nil, fmt.Errorf("the filter is deeper than %d", maxFilterDepth)
	}
	m, ok := v.(map[string]any)
	if !ok || len(m) != 1 {
		return nil, errors.New("expected one of exact, prefix, suffix, all, any and not, with what it is about")
	}
	dialect := sortedKeys(m)[0]
	if !slices.Contains(filterDialects, dialect) {
		return nil, fmt.Errorf("%.40q: expected one of exact, prefix, suffix, all, any and not", dialect)
	}
	switch about := m[dialect].(type) {
	case map[string]any:
		if dialect == "not" {
			part, err := parseFilter(about, depth+1, left)
			return &EventFilter{dialect: dialect, parts: []*EventFilter{part}}, err
		}
		if dialect != "all" && dialect != "any" {
			return parseAttributes(dialect, about, left)
		}
	case []any:
		if dialect == "all" || dialect == "any" {
			return parseParts(dialect, about, depth+1, left)
		}
	}
	expected := map[string]string{"not": "one filter", "all": "a list of filters", "any": "a list of filters"}[dialect]
	if expected == "" {
		expected = "attributes and their values, such as {type: order.placed}"
	}
	return nil, fmt.Errorf("%s: expected %s", dialect, expected)
}

func parseParts(dialect string, list []any, depth int, left *int) (*EventFilter, error) {
	if len(list) == 0 {
		return nil, fmt.Errorf("%s: the list is empty", dialect)
	}
	f := &EventFilter{dialect: dialect}
	for _, v := range list {
		part, err := parseFilter(v, depth, left)
		if err != nil {
			return nil, err
		}
		f.parts = append(f.parts, part)
	}
	return f, nil
}

// parseAttributes reads attributes with values, which must all be so.
func parseAttributes(dialect string, about map[string]any, left *int) (*EventFilter, error) {
	if len(about) == 0 {
		return nil, fmt.Errorf("%s: no attribute is named", dialect)
	}
	f := &EventFilter{dialect: "all"}
	for _, name := range sortedKeys(about) {
		if *left--; *left < 0 {
			return nil, fmt.Errorf("the filter has more than %d parts", maxFilterParts)
		}
		value, ok := about[name].(string)
		switch {
		case !attributeName.MatchString(name):
			return nil, fmt.Errorf("%s: attribute %.70q: expected lower case letters and digits", dialect, name)
		case !ok || value == "" || len(value) > maxFilterValue:
			return nil, fmt.Errorf("%s: %s: expected a text of 1 to %d bytes", dialect, name, maxFilterValue)
		}
		f.parts = append(f.parts, &EventFilter{dialect: dialect, attribute: name, value: value})
	}
	return f, nil
}

// Match reports whether an event is asked for, which has attributes. One that it does not have is neither equal to anything nor begins or
// ends with it. A nil filter asks for all.
func (f *EventFilter) Match(attribute func(name string) (string, bool)) bool {
	if f == nil {
		return true
	}
	switch f.dialect {
	case "all":
		return !slices.ContainsFunc(f.parts, func(p *EventFilter) bool { return !p.Match(attribute) })
	case "any":
		return slices.ContainsFunc(f.parts, func(p *EventFilter) bool { return p.Match(attribute) })
	case "not":
		return !f.parts[0].Match(attribute)
	}
	value, ok := attribute(f.attribute)
	switch {
	case !ok:
		return false
	case f.dialect == "prefix":
		return strings.HasPrefix(value, f.value)
	case f.dialect == "suffix":
		return strings.HasSuffix(value, f.value)
	}
	return value == f.value
}

// filters checks that filters can be read, of groups that have a name.
func (c *checker) filters(v *Topic, s spot) {
	for _, name := range sortedKeys(v.Filters) {
		if _, err := ParseEventFilter(v.Filters[name]); err != nil {
			c.at(s.child(name), Problem{Message: err.Error()})
		}
	}
}
