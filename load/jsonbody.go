package load

import (
	"encoding/json"
	"fmt"
	"slices"
)

// sortedKeys returns the keys of m in order, so that the same file always gives the same bytes.
func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// maxJSONDepth bounds the nesting of a body or an answer.
const maxJSONDepth = 200

// jsonBody is the template of a JSON body. A string that is one ${...} alone becomes what it stands for: a number for
// random, zipf, user, iteration and for a number that was extracted, otherwise a string. Inside of longer text it is
// part of the string.
func (sc *scope) jsonBody(t template, v any, depth int) (template, error) {
	if depth > maxJSONDepth {
		return nil, fmt.Errorf("nested deeper than %d", maxJSONDepth)
	}
	lit := func(s string) { t = append(t, segment{literal: s}) }
	var err error
	switch v := v.(type) {
	case map[string]any:
		lit("{")
		for i, k := range sortedKeys(v) {
			if i > 0 {
				lit(",")
			}
			if t, err = sc.jsonString(t, k, false); err != nil {
				return nil, err
			}
			lit(":")
			if t, err = sc.jsonBody(t, v[k], depth+1); err != nil {
				return nil, fmt.Errorf("%s: %w", k, err)
			}
		}
		lit("}")
	case map[any]any:
		keyed := make(map[string]any, len(v))
		for k, e := range v {
			keyed[fmt.Sprint(k)] = e
		}
		return sc.jsonBody(t, keyed, depth)
	case []any:
		lit("[")
		for i, e := range v {
			if i > 0 {
				lit(",")
			}
			if t, err = sc.jsonBody(t, e, depth+1); err != nil {
				return nil, fmt.Errorf("%d: %w", i, err)
			}
		}
		lit("]")
	case string:
		return sc.jsonString(t, v, true)
	default:
		b, err := json.Marshal(v)
		if err != nil {
			return nil, fmt.Errorf("as JSON: %w", err)
		}
		lit(string(b))
	}
	return t, nil
}

func (sc *scope) jsonString(t template, text string, bare bool) (template, error) {
	parts, err := sc.parse(text, always(escapeJSON))
	if err != nil {
		return nil, err
	}
	if bare && len(parts) == 1 && parts[0].kind != valueLiteral {
		parts[0].bare = true
		return append(t, parts[0]), nil
	}
	t = append(t, segment{literal: `"`})
	for _, p := range parts {
		if p.kind == valueLiteral {
			p.literal = string(appendEscaped(nil, p.literal, escapeJSON, false))
		}
		t = append(t, p)
	}
	return append(t, segment{literal: `"`}), nil
}

// joined merges neighbouring literals.
func (t template) joined() template {
	var out template
	for _, s := range t {
		if n := len(out); n > 0 && s.kind == valueLiteral && out[n-1].kind == valueLiteral {
			out[n-1].literal += s.literal
			continue
		}
		out = append(out, s)
	}
	return out
}
