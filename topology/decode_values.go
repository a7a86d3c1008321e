package topology

import (
	"reflect"
	"strconv"
	"strings"
)

// inRange checks a number, plain or of a unit, against bounds that are written as in the file.
func (d *decoder) inRange(n *node, v reflect.Value, low, high, above string, p *path) bool {
	ok := (low == "" || compareBound(v, low) >= 0) && (high == "" || compareBound(v, high) <= 0) &&
		(above == "" || compareBound(v, above) > 0)
	if ok {
		return true
	}
	problem := Problem{Found: n.describe(), Expected: strings.TrimPrefix(rangeText(low, high, above), " ")}
	if share, isShare := v.Interface().(Percent); isShare && n.kind == numberKind && share > 1 && share <= 100 {
		problem.Hint = "did you mean " + n.text + "%?"
	}
	d.say(n.at, p, problem)
	return false
}

// rangeText says a range: " from 1 to 10", " of at least 1".
func rangeText(low, high, above string) string {
	switch {
	case low != "" && high != "":
		return " from " + low + " to " + high
	case above != "" && high != "":
		return " more than " + above + " and at most " + high
	case low != "":
		return " at least " + low
	case high != "":
		return " at most " + high
	case above != "":
		return " more than " + above
	}
	return ""
}

// compareBound compares a value with a bound of its own type.
func compareBound(v reflect.Value, bound string) int {
	number := func(v reflect.Value) float64 {
		switch v.Kind() {
		case reflect.Int, reflect.Int64:
			return float64(v.Int())
		case reflect.Float64:
			return v.Float()
		}
		return 0
	}
	limit, _ := strconv.ParseFloat(bound, 64)
	if unit, err, ok := parseUnit(v.Type(), bound); ok && err == nil {
		limit = number(unit)
	}
	switch x := number(v); {
	case x < limit:
		return -1
	case x > limit:
		return 1
	}
	return 0
}

// free decodes a value of no given type, as encoding/json would: map[string]any, []any, string, float64 or int64, bool
// or nil.
func (d *decoder) free(n *node, p *path) (any, bool) {
	switch n.kind {
	case nullKind:
		return nil, true
	case boolKind:
		return strings.EqualFold(n.text, "true"), true
	case stringKind:
		return n.text, true
	case numberKind:
		if i, err := strconv.ParseInt(n.text, 10, 64); err == nil {
			return i, true
		}
		f, err := strconv.ParseFloat(n.text, 64)
		if err != nil {
			d.say(n.at, p, Problem{Found: n.describe(), Message: "is too large", Expected: "a number"})
		}
		return f, err == nil
	case listKind:
		out := make([]any, 0, len(n.items))
		for i, item := range n.items {
			v, ok := d.free(item, p.item(i))
			if !ok {
				return nil, false
			}
			out = append(out, v)
		}
		return out, true
	default:
		out := make(map[string]any, len(n.entries))
		for _, e := range n.entries {
			v, ok := d.free(e.value, p.child(e.key))
			if !ok {
				return nil, false
			}
			out[e.key] = v
		}
		return out, true
	}
}
