package topology

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"
)

// Schema returns the JSON Schema (draft 2020-12) of the file, for editors. It accepts every file that Load accepts but
// for fields that are null; what it cannot say (ranges of values with a unit, references between fields) Load checks.
func Schema() ([]byte, error) {
	docs, err := readDocs()
	if err != nil {
		return nil, err
	}
	s := &schemaWriter{docs: docs, defs: map[string]object{}}
	root := s.structure(reflect.TypeFor[System]())
	out := object{
		{"$schema", "https://json-schema.org/draft/2020-12/schema"},
		{"title", "banyan.yaml"},
		{"description", docs["System"].doc},
	}
	out = append(out, root...)
	defs := object{}
	for _, name := range sortedKeys(s.defs) {
		defs = append(defs, member{name, s.defs[name]})
	}
	out = append(out, member{"$defs", defs})
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(out); err != nil {
		return nil, fmt.Errorf("writing the schema: %w", err)
	}
	return text.Bytes(), nil
}

// object is a JSON object that keeps its order.
type object []member

type member struct {
	key   string
	value any
}

// MarshalJSON writes the members in their order.
func (o object) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	b.WriteByte('{')
	for i, m := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		if err := enc.Encode(m.key); err != nil {
			return nil, err
		}
		b.WriteByte(':')
		if err := enc.Encode(m.value); err != nil {
			return nil, err
		}
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// schemaWriter collects the definitions of the struct types.
type schemaWriter struct {
	docs map[string]typeDocs
	defs map[string]object
}

// structure returns the schema of a struct.
func (s *schemaWriter) structure(t reflect.Type) object {
	properties, required := object{}, []string{}
	for _, f := range fieldsOf(t) {
		schema := object{{"description", s.describe(f)}}
		schema = append(schema, s.of(f.typ, f.rules)...)
		if f.rules.hasDefault {
			schema = append(schema, member{"default", schemaDefault(f)})
		}
		properties = append(properties, member{f.name, schema})
		if f.rules.required {
			required = append(required, f.name)
		}
	}
	out := object{{"type", "object"}, {"properties", properties}}
	if len(required) > 0 {
		out = append(out, member{"required", required})
	}
	return append(out, member{"patternProperties", object{{"^x-", true}}}, member{"additionalProperties", false})
}

// describe returns a field's documentation with the range of its values, where the schema cannot say it otherwise.
func (s *schemaWriter) describe(f field) string {
	text := docOf(s.docs, f)
	t := f.typ
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if _, _, unit := parseUnit(t, "0"); unit {
		if r := strings.TrimSpace(rangeText(f.rules.min, f.rules.max, f.rules.above)); r != "" {
			text += " Range: " + r + "."
		}
	}
	return text
}

// of returns the schema of a type.
func (s *schemaWriter) of(t reflect.Type, r rules) object {
	if schema := unitSchema(t); schema != nil {
		return schema
	}
	if t == reflect.TypeFor[Command]() {
		return object{{"oneOf", []object{{{"type", "string"}, {"minLength", 1}},
			{{"type", "array"}, {"items", object{{"type", []string{"string", "number", "boolean"}}}}}}}}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return s.of(t.Elem(), r)
	case reflect.Struct:
		return s.reference(t)
	case reflect.Map:
		return s.mapping(t, r)
	case reflect.Slice:
		return s.list(t, r)
	case reflect.String:
		return stringSchema(r)
	case reflect.Bool:
		return object{{"type", "boolean"}}
	case reflect.Int:
		if len(r.enum) > 0 {
			return object{{"enum", numbers(r.enum)}}
		}
		return bounded(object{{"type", "integer"}}, r)
	case reflect.Float64:
		return bounded(object{{"type", "number"}}, r)
	}
	return object{}
}

// reference returns a reference to a struct's definition, with its short form beside it.
func (s *schemaWriter) reference(t reflect.Type) object {
	if _, have := s.defs[t.Name()]; !have {
		s.defs[t.Name()] = nil // ends a recursion, if there ever is one
		def := object{{"description", s.docs[t.Name()].doc}}
		s.defs[t.Name()] = append(def, s.structure(t)...)
	}
	ref := object{{"$ref", "#/$defs/" + t.Name()}}
	key, _ := shortForm(t)
	if key == "" {
		return ref
	}
	for _, f := range fieldsOf(t) {
		if f.name == key {
			return object{{"oneOf", []object{s.of(f.typ, f.rules), ref}}}
		}
	}
	return ref
}

func (s *schemaWriter) mapping(t reflect.Type, r rules) object {
	var value any
	switch e := t.Elem(); {
	case e.Kind() == reflect.String:
		value = object{{"type", []string{"string", "number", "boolean"}}}
	case e.Kind() == reflect.Pointer && e.Elem().Kind() == reflect.Struct:
		value = object{{"oneOf", []object{{{"type", "null"}}, s.of(e, rules{})}}}
	default:
		value = s.of(e, rules{min: r.itemMin, max: r.itemMax})
	}
	out := object{{"type", "object"}, {"additionalProperties", value}}
	if pattern := keyPattern(r.keys); pattern != "" {
		out = append(out, member{"propertyNames", object{{"pattern", pattern}}})
	}
	return append(out, member{"maxProperties", maxEntries})
}

func keyPattern(kind string) string {
	switch kind {
	case "name":
		return namePattern.String()
	case "env":
		return envPattern.String()
	case "variable":
		return variablePattern.String()
	case "percentile":
		return percentilePattern.String()
	}
	return ""
}

// list returns the schema of a list; one of plain values may be written as one value.
func (s *schemaWriter) list(t reflect.Type, r rules) object {
	item := s.of(t.Elem(), rules{min: r.itemMin, max: r.itemMax})
	most := maxEntries
	if r.maxItems > 0 {
		most = r.maxItems
	}
	out := object{{"type", "array"}, {"items", item}, {"maxItems", most}}
	if r.minItems > 0 {
		out = append(out, member{"minItems", r.minItems})
	}
	if k := t.Elem().Kind(); k == reflect.String || k == reflect.Int {
		return object{{"oneOf", []object{item, out}}}
	}
	return out
}

func stringSchema(r rules) object {
	out := object{{"type", "string"}}
	if len(r.enum) > 0 {
		return object{{"enum", r.enum}}
	}
	switch r.format {
	case "name":
		out = append(out, member{"pattern", namePattern.String()})
	case "path":
		out = append(out, member{"pattern", "^/"})
	case "url":
		out = append(out, member{"pattern", "^$|^[A-Za-z][A-Za-z0-9+.-]*://.+"})
	case "address":
		out = append(out, member{"pattern", "^$|:[0-9]{1,5}$"})
	}
	return out
}

// unitSchema returns the schema of a unit, nil where the type is none.
func unitSchema(t reflect.Type) object {
	const number, small = `[0-9]+(\.[0-9]+)?`, `[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?`
	text := func(pattern string) object { return object{{"type", "string"}, {"pattern", "^(" + pattern + ")$"}} }
	zero, positive := object{{"const", 0}}, object{{"type", "number"}, {"minimum", 0}}
	switch t {
	case reflect.TypeFor[Duration]():
		return object{{"oneOf", []object{text(`0+(\.0+)?|(` + number + `(ns|us|µs|μs|ms|s|m|h|d|w))+`), zero}}}
	case reflect.TypeFor[Bytes]():
		return object{{"oneOf", []object{text(number + ` ?([kKMGTP]|[KMGTP]i)?B?`), positive}}}
	case reflect.TypeFor[Percent]():
		return object{{"oneOf", []object{text(small + ` ?%?`), positive}}}
	case reflect.TypeFor[Rate]():
		return object{{"oneOf", []object{text(`0+(\.0+)?|` + small + `/(s|sec|second|min|minute|h|hour|d|day)`), zero}}}
	case reflect.TypeFor[CPU]():
		return object{{"oneOf", []object{text(small + `m?`), positive}}}
	case reflect.TypeFor[GrowthRate]():
		return object{{"oneOf", []object{text(`0+(\.0+)?%?|` + small + ` ?%?/(` + strings.Join(growthPeriods[:], "|") + `)`), zero}}}
	}
	return nil
}

// bounded adds the range of a plain number.
func bounded(o object, r rules) object {
	add := func(key, bound string) {
		if v, err := strconv.ParseFloat(bound, 64); err == nil {
			o = append(o, member{key, v})
		}
	}
	add("minimum", r.min)
	add("maximum", r.max)
	add("exclusiveMinimum", r.above)
	return o
}

func numbers(texts []string) []int {
	out := make([]int, len(texts))
	for i, t := range texts {
		out[i], _ = strconv.Atoi(t)
	}
	return out
}

// schemaDefault returns a field's default as JSON: lists and numbers as such, units as they are written.
func schemaDefault(f field) any {
	if f.rules.def == emptyMap {
		return object{}
	}
	d := newDecoder([]Source{{}}, []string{""}, &problems{})
	v := reflect.New(f.typ).Elem()
	d.fill(v, f.rules, &node{}, nil)
	return v.Interface()
}
