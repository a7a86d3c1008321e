package topology

import (
	"reflect"
	"strconv"
	"strings"
)

// rules of a field, from its schema tag: comma-separated words, 'required' or key=value. Ranges and defaults are
// written as in the file.
type rules struct {
	required         bool
	min, max, above  string // minimum, maximum, exclusiveMinimum
	enum             []string
	def              string // default
	hasDefault       bool
	format           string // of a string: name, host, path, address, url, file, time
	keys             string // what the keys of a map are: name, env, percentile, variable
	minItems         int
	maxItems         int
	maxLength        int
	itemMin, itemMax string // range of the items of a list or the values of a map
}

func parseRules(tag string) rules {
	var r rules
	for _, word := range splitTag(tag) {
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case "required":
			r.required = true
		case "minimum":
			r.min = value
		case "maximum":
			r.max = value
		case "exclusiveMinimum":
			r.above = value
		case "itemMinimum":
			r.itemMin = value
		case "itemMaximum":
			r.itemMax = value
		case "enum":
			r.enum = strings.Split(value, "|")
		case "default":
			r.def, r.hasDefault = value, true
		case "format":
			r.format = value
		case "keys":
			r.keys = value
		case "minItems":
			r.minItems, _ = strconv.Atoi(value)
		case "maxItems":
			r.maxItems, _ = strconv.Atoi(value)
		case "maxLength":
			r.maxLength, _ = strconv.Atoi(value)
		}
	}
	return r
}

// splitTag splits at the commas outside brackets.
func splitTag(tag string) []string {
	var out []string
	depth, start := 0, 0
	for i, c := range tag {
		switch {
		case c == '[':
			depth++
		case c == ']':
			depth--
		case c == ',' && depth == 0:
			out = append(out, tag[start:i])
			start = i + 1
		}
	}
	if start < len(tag) {
		out = append(out, tag[start:])
	}
	return out
}

// field of a struct of the vocabulary.
type field struct {
	name  string // key in the file
	goal  string // name in Go
	index []int
	typ   reflect.Type
	owner reflect.Type // struct that declares it, where it is inlined from another
	rules rules
}

// fieldsOf returns the fields of a struct type in their order, inlined ones in place.
func fieldsOf(t reflect.Type) []field {
	var out []field
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		switch {
		case name == "-":
		case options == "inline":
			for _, in := range fieldsOf(f.Type) {
				in.index = append([]int{i}, in.index...)
				out = append(out, in)
			}
		case name != "":
			out = append(out, field{name, f.Name, []int{i}, f.Type, t, parseRules(f.Tag.Get("schema"))})
		}
	}
	return out
}

// shortForm returns the key that a scalar stands for where a map is expected, and what is said of it in messages;
// an empty key if there is no short form.
func shortForm(t reflect.Type) (key, want string) {
	switch t {
	case reflect.TypeFor[Replicas]():
		return "min", "a number or {min, max}"
	case reflect.TypeFor[Check]():
		return "path", "a path such as /healthz, or {path, interval, ...}"
	case reflect.TypeFor[Backend]():
		return "address", "an address such as 10.0.0.7:8080, or {address, weight}"
	}
	return "", ""
}

// parseUnit reads text as a value of a unit's type. ok is false where t is no unit.
func parseUnit(t reflect.Type, text string) (v reflect.Value, err error, ok bool) {
	switch t {
	case reflect.TypeFor[Duration]():
		return unitValue(ParseDuration(text))
	case reflect.TypeFor[Bytes]():
		return unitValue(ParseBytes(text))
	case reflect.TypeFor[Percent]():
		return unitValue(ParsePercent(text))
	case reflect.TypeFor[Rate]():
		return unitValue(ParseRate(text))
	case reflect.TypeFor[CPU]():
		return unitValue(ParseCPU(text))
	case reflect.TypeFor[GrowthRate]():
		return unitValue(ParseGrowthRate(text))
	}
	return reflect.Value{}, nil, false
}

func unitValue[T any](v T, err error) (reflect.Value, error, bool) {
	return reflect.ValueOf(v), err, true
}

// expected says what a field of a type takes, for messages.
func expected(t reflect.Type, r rules) string {
	if len(r.enum) > 0 {
		return oneOf(r.enum)
	}
	if t.Kind() == reflect.Pointer {
		return expected(t.Elem(), r)
	}
	if _, want := shortForm(t); want != "" {
		return want
	}
	switch t {
	case reflect.TypeFor[Duration]():
		return wantDuration
	case reflect.TypeFor[Bytes]():
		return wantBytes
	case reflect.TypeFor[Percent]():
		return wantPercent
	case reflect.TypeFor[Rate]():
		return wantRate
	case reflect.TypeFor[CPU]():
		return wantCPU
	case reflect.TypeFor[GrowthRate]():
		return wantGrowth
	case reflect.TypeFor[Command]():
		return "a command: a string or a list of words"
	}
	switch t.Kind() {
	case reflect.String:
		return wantString(r.format)
	case reflect.Bool:
		return "true or false"
	case reflect.Int:
		return "a whole number"
	case reflect.Float64:
		return "a number"
	case reflect.Slice:
		if t.Elem().Kind() == reflect.String || t.Elem().Kind() == reflect.Int {
			return "a list, or one value"
		}
		return "a list"
	case reflect.Map, reflect.Struct:
		return "a map"
	}
	return "a value"
}

// oneOf lists names for a message.
func oneOf(names []string) string {
	const most = 12
	if len(names) > most {
		names = append(append([]string{}, names[:most]...), "...")
	}
	if len(names) == 1 {
		return names[0]
	}
	return "one of " + strings.Join(names, ", ")
}
