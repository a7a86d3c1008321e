package queueing

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// checkFields refuses fields of a JSON object that are not among the known and says which one may have been meant.
func checkFields(raw []byte, known []string) error {
	var keys map[string]json.RawMessage
	if json.Unmarshal(raw, &keys) != nil {
		return nil // not an object: the decoder says so better
	}
	names := make([]string, 0, len(keys))
	for k := range keys {
		names = append(names, k)
	}
	slices.Sort(names)
	for _, k := range names {
		if slices.ContainsFunc(known, func(n string) bool { return strings.EqualFold(n, k) }) {
			continue
		}
		if near := nearest(k, known); near != "" {
			return fmt.Errorf("unknown field %q; did you mean %q? Known: %s", k, near, strings.Join(known, ", "))
		}
		return fmt.Errorf("unknown field %q; known: %s", k, strings.Join(known, ", "))
	}
	return nil
}

// fieldsOf are the JSON names of a struct's fields.
func fieldsOf(v any) []string {
	t := reflect.TypeOf(v)
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	var names []string
	for i := range t.NumField() {
		if name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ","); name != "" {
			names = append(names, name)
		}
	}
	return names
}

// customary are names that others use for the same thing.
var customary = map[string]string{"lambda": "lam", "arrival_rate": "lam", "service_rate": "mu", "servers": "c", "capacity": "K",
	"population": "N", "think": "Z", "demands": "D", "visits": "V", "stddev": "sd", "mean": "ES", "cs2": "scv", "s": "c", "routing": "P"}

// nearest is the known name at the smallest edit distance, "" where none is near.
func nearest(name string, known []string) string {
	if other := customary[strings.ToLower(name)]; other != "" && slices.Contains(known, other) {
		return other
	}
	best, at := "", max(2, len(name)/3)+1
	for _, k := range known {
		if d := editDistance(strings.ToLower(name), strings.ToLower(k)); d < at && d < max(len(name), len(k)) {
			best, at = k, d
		}
	}
	return best
}

func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := diagonal
			if a[i-1] != b[j-1] {
				cost++
			}
			diagonal = row[j]
			row[j] = min(cost, row[j]+1, row[j-1]+1)
		}
	}
	return row[len(b)]
}

// findKind is the kind of that name: as written, else without regard to case, punctuation and what stands in brackets or after
// a comma, if only one kind is then left. -1 for none.
func findKind(kinds []modelKind, name string) int {
	if i := slices.IndexFunc(kinds, func(k modelKind) bool { return strings.EqualFold(k.name, name) }); i >= 0 {
		return i
	}
	for _, plain := range []func(string) string{plainKind, func(s string) string { return plainKind(outsideBrackets(s)) }} {
		found := -1
		for i, k := range kinds {
			if plain(k.name) != plain(name) || plain(name) == "" {
				continue
			}
			if found >= 0 {
				found = -2
				break
			}
			found = i
		}
		if found >= 0 {
			return found
		}
	}
	return -1
}

func plainKind(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '/' {
			return r
		}
		return -1
	}, strings.ToLower(s))
}

func outsideBrackets(s string) string {
	s, _, _ = strings.Cut(s, "(")
	s, _, _ = strings.Cut(s, ",")
	return s
}
