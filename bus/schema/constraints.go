package schema

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"slices"
)

// objects compares what is said of properties.
func (c *comparison) objects(w, n object, at string) (reasons []string) {
	required := texts(list(n["required"]))
	for _, name := range texts(list(w["required"])) {
		if !slices.Contains(required, name) {
			reasons = append(reasons, c.because(at, fmt.Sprintf("the property %q is required by one only", name))...)
		}
	}
	reasons = append(reasons, c.properties(w, n, at)...)
	reasons = append(reasons, c.bounds(w, n, at, "minProperties", "maxProperties")...)
	return append(reasons, c.same(w, n, at, "patternProperties", "propertyNames", "dependentRequired", "dependentSchemas", "dependencies",
		"unevaluatedProperties")...)
}

// properties compares each property that one of the schemas names, and then those that neither does.
func (c *comparison) properties(w, n object, at string) (reasons []string) {
	wide, _ := w["properties"].(object)
	narrow, _ := n["properties"].(object)
	others, openToAll := w["additionalProperties"], w["additionalProperties"] == nil
	rest, restSaid := n["additionalProperties"]
	for _, name := range slices.Sorted(maps.Keys(narrow)) {
		there := at + "/" + name
		if s, named := wide[name]; named {
			reasons = append(reasons, c.compare(s, narrow[name], there)...)
		} else if !openToAll {
			reasons = append(reasons, c.compare(others, narrow[name], there)...)
		}
	}
	if !restSaid {
		rest = true
	}
	if restSaid {
		for _, name := range slices.Sorted(maps.Keys(wide)) {
			if _, named := narrow[name]; named {
				continue
			}
			others := rest
			if n["patternProperties"] != nil {
				others = true // a pattern may have it
			}
			reasons = append(reasons, c.compare(wide[name], others, at+"/"+name)...)
		}
	}
	if !openToAll {
		reasons = append(reasons, c.compare(others, rest, at+"/*")...)
	}
	return reasons
}

// arrays compares what is said of items.
func (c *comparison) arrays(w, n object, at string) (reasons []string) {
	for _, key := range []string{"items", "additionalItems"} {
		s, said := w[key]
		if _, several := s.([]any); several { // of older drafts
			reasons = append(reasons, c.same(w, n, at, key)...)
		} else if said {
			reasons = append(reasons, c.compare(s, n[key], at+"/0")...)
		}
	}
	if s, said := w["items"]; said && w["prefixItems"] == nil {
		for _, first := range list(n["prefixItems"]) {
			reasons = append(reasons, c.compare(s, first, at+"/0")...)
		}
	}
	if w["uniqueItems"] == true && n["uniqueItems"] != true {
		reasons = append(reasons, c.because(at, "items must differ by one only")...)
	}
	reasons = append(reasons, c.bounds(w, n, at, "minItems", "maxItems")...)
	return append(reasons, c.same(w, n, at, "prefixItems", "contains", "minContains", "maxContains", "unevaluatedItems")...)
}

// bounds compares a least and a greatest size.
func (c *comparison) bounds(w, n object, at, least, most string) (reasons []string) {
	if lo := number(w[least]); lo != nil && lo.Sign() > 0 {
		if have := number(n[least]); have == nil || have.Cmp(lo) < 0 {
			reasons = append(reasons, c.because(at, fmt.Sprintf("%s is %v by one, and less by the other", least, w[least]))...)
		}
	}
	if hi := number(w[most]); hi != nil {
		if have := number(n[most]); have == nil || have.Cmp(hi) > 0 {
			reasons = append(reasons, c.because(at, fmt.Sprintf("%s is %v by one, and more by the other", most, w[most]))...)
		}
	}
	return reasons
}

// numbers compares ranges and steps.
func (c *comparison) numbers(w, n object, at string, integers bool) (reasons []string) {
	for _, side := range []struct {
		key, exclusive string
		sign           int
	}{{"minimum", "exclusiveMinimum", 1}, {"maximum", "exclusiveMaximum", -1}} {
		want, wantOpen := edge(w, side.key, side.exclusive, side.sign)
		if want == nil {
			continue
		}
		have, haveOpen := edge(n, side.key, side.exclusive, side.sign)
		if have == nil || have.Cmp(want)*side.sign < 0 || have.Cmp(want) == 0 && wantOpen && !haveOpen {
			reasons = append(reasons, c.because(at, fmt.Sprintf("the %s is %s by one, and beyond by the other", side.key, want.RatString()))...)
		}
	}
	if step := number(w["multipleOf"]); step != nil && step.Sign() > 0 {
		have := number(n["multipleOf"])
		if have == nil && integers {
			have = big.NewRat(1, 1)
		}
		if have == nil || !new(big.Rat).Quo(have, step).IsInt() {
			reasons = append(reasons, c.because(at, fmt.Sprintf("it is a multiple of %v by one only", w["multipleOf"]))...)
		}
	}
	return reasons
}

// edge is the bound of a range, and whether the bound itself is outside. Of two, the tighter one counts.
func edge(s object, key, exclusive string, sign int) (at *big.Rat, open bool) {
	at = number(s[key])
	if s[exclusive] == true { // of draft 4
		return at, true
	}
	if x := number(s[exclusive]); x != nil && (at == nil || x.Cmp(at)*sign >= 0) {
		return x, true
	}
	return at, false
}

// number is a JSON number; nil if it is none, or one that is too large to be reckoned with.
func number(v any) *big.Rat {
	n, ok := v.(json.Number)
	if !ok || len(n) > 100 {
		return nil
	}
	if f, err := n.Float64(); err != nil || f != 0 && (f > 1e100 || f < -1e100 || f < 1e-100 && f > -1e-100) {
		return nil
	}
	r, ok := new(big.Rat).SetString(n.String())
	if !ok {
		return nil
	}
	return r
}
