package topology

import (
	"bytes"
	"fmt"
	"math"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"unicode"
)

// YAML returns the system as one file in which everything is said: defaults, names, what routes took over. Fields stand
// in the order of the types, maps are sorted, and what is empty is left out. Parse gives the same system back.
func (s *System) YAML() ([]byte, error) {
	w := &expander{sys: s}
	if !w.structure(reflect.ValueOf(s).Elem(), 0) {
		return nil, fmt.Errorf("writing the system as YAML: it is empty")
	}
	if w.err != nil {
		return nil, fmt.Errorf("writing the system as YAML: %w", w.err)
	}
	return w.out.Bytes(), nil
}

// expander writes Go values of the vocabulary as YAML.
type expander struct {
	sys *System
	out bytes.Buffer
	err error
}

func (w *expander) indent(depth int) { w.out.WriteString(strings.Repeat("  ", depth)) }

// structure writes a struct's fields as lines of a block map, false where there are none.
func (w *expander) structure(v reflect.Value, depth int) bool {
	any := false
	for _, f := range fieldsOf(v.Type()) {
		if b, ok := v.Interface().(ofEngine); ok && b.leaves(f.name) {
			continue
		}
		if w.field(f, v.FieldByIndex(f.index), depth) {
			any = true
		}
	}
	return any
}

// ofEngine is a block that leaves fields, which have defaults, to the engine that it is served by.
type ofEngine interface{ leaves(field string) bool }

func (w *expander) field(f field, v reflect.Value, depth int) bool {
	t := v.Type()
	isStruct := t.Kind() == reflect.Struct && t != reflect.TypeFor[GrowthRate]()
	if v.IsZero() && !f.rules.hasDefault && !f.rules.required && !isStruct {
		return false
	}
	if t.Kind() == reflect.Pointer && v.IsNil() {
		return false // a system that was not loaded: its defaults are not filled in
	}
	if (t.Kind() == reflect.Map || t.Kind() == reflect.Slice) && v.Len() == 0 && !f.rules.hasDefault {
		return false
	}
	start := w.out.Len()
	w.indent(depth)
	w.out.WriteString(f.name + ":")
	if isStruct {
		w.out.WriteString("\n")
		if !w.structure(v, depth+1) {
			w.out.Truncate(start)
			return false
		}
		return true
	}
	w.value(v, depth)
	return true
}

// value writes what stands after a key's colon: on the same line, or as a block below it.
func (w *expander) value(v reflect.Value, depth int) {
	t := v.Type()
	switch {
	case t.Kind() == reflect.Pointer && t.Elem().Kind() == reflect.Struct:
		at := w.out.Len()
		w.out.WriteString("\n")
		if !w.structure(v.Elem(), depth+1) {
			w.out.Truncate(at)
			w.out.WriteString(" {}\n")
		}
	case t.Kind() == reflect.Pointer:
		w.value(v.Elem(), depth)
	case t.Kind() == reflect.Map && v.Len() > 0:
		w.out.WriteString("\n")
		for _, key := range sortedStrings(v) {
			w.indent(depth + 1)
			w.out.WriteString(quoteYAML(key) + ":")
			w.value(v.MapIndex(reflect.ValueOf(key)), depth+1)
		}
	case t.Kind() == reflect.Slice && v.Len() > 0 && holdsStructs(t):
		w.out.WriteString("\n")
		for i := range v.Len() {
			w.listItem(reflect.Indirect(v.Index(i)), depth+1)
		}
	default:
		w.out.WriteString(" " + w.flow(v) + "\n")
	}
}

// listItem writes a struct as an item of a block list: its first line follows the dash.
func (w *expander) listItem(v reflect.Value, depth int) {
	start := w.out.Len()
	if !w.structure(v, depth+1) {
		w.indent(depth)
		w.out.WriteString("- {}\n")
		return
	}
	w.out.Bytes()[start+2*depth] = '-'
}

func holdsStructs(t reflect.Type) bool {
	t = t.Elem()
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t.Kind() == reflect.Struct
}

func sortedStrings(v reflect.Value) []string {
	set := make(map[string]bool, v.Len())
	for _, k := range v.MapKeys() {
		set[k.String()] = true
	}
	return sortedKeys(set)
}

// flow writes a value in one line.
func (w *expander) flow(v reflect.Value) string {
	if s, ok := v.Interface().(fmt.Stringer); ok {
		return s.String() // a unit
	}
	switch v.Kind() {
	case reflect.String:
		return quoteYAML(v.String())
	case reflect.Bool:
		return strconv.FormatBool(v.Bool())
	case reflect.Int, reflect.Int64:
		return strconv.FormatInt(v.Int(), 10)
	case reflect.Float64:
		return formatNumber(v.Float())
	case reflect.Slice:
		words := make([]string, v.Len())
		for i := range words {
			words[i] = w.flow(v.Index(i))
		}
		return "[" + strings.Join(words, ", ") + "]"
	case reflect.Map:
		if v.Len() == 0 {
			return "{}"
		}
	case reflect.Interface:
		return w.free(v.Interface())
	}
	w.err = fmt.Errorf("a value of type %v cannot be written", v.Type())
	return ""
}

// free writes a value of no given type.
func (w *expander) free(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case string:
		return quoteYAML(v)
	case bool:
		return strconv.FormatBool(v)
	case int:
		return strconv.Itoa(v)
	case int64:
		return strconv.FormatInt(v, 10)
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			w.err = fmt.Errorf("%v is no number of JSON", v)
		}
		text := formatNumber(v)
		if !strings.ContainsAny(text, ".e") {
			text += ".0" // stays a float when it is read back
		}
		return text
	case []any:
		words := make([]string, len(v))
		for i, item := range v {
			words[i] = w.free(item)
		}
		return "[" + strings.Join(words, ", ") + "]"
	case map[string]any:
		words := make([]string, 0, len(v))
		for _, key := range sortedKeys(v) {
			words = append(words, quoteYAML(key)+": "+w.free(v[key]))
		}
		return "{" + strings.Join(words, ", ") + "}"
	}
	w.err = fmt.Errorf("a value of type %T cannot be written", v)
	return ""
}

// plainYAML matches what every YAML reader takes for a string without quotes, but for the words of booleans and null.
var plainYAML = regexp.MustCompile(`^[A-Za-z_/][A-Za-z0-9_./-]*$|^\./[A-Za-z0-9_./-]*$`)

// quoteYAML writes a string, in double quotes where it needs them.
func quoteYAML(s string) string {
	switch strings.ToLower(s) {
	case "null", "true", "false", "yes", "no", "on", "off", "y", "n":
		return `"` + s + `"`
	}
	if plainYAML.MatchString(s) {
		return s
	}
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r > 0xffff && !unicode.IsPrint(r):
			fmt.Fprintf(&b, `\U%08X`, r)
		case !unicode.IsPrint(r):
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
