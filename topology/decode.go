package topology

import (
	"fmt"
	"math"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Bounds of what one file may say.
const (
	maxEntries = 10_000    // of one map or list
	maxVisits  = 1_000_000 // values decoded in all, those that routes take over from services included
)

// decoder fills Go values from a tree by the tags of their types: keys, defaults, ranges, short forms and units are
// handled here and nowhere else. It goes on after a problem, with the default in the place of what was wrong.
type decoder struct {
	sources  []Source
	folders  []string // of the sources
	problems *problems
	fields   map[reflect.Type][]field
	spots    map[any]spot // of what a pointer of the vocabulary points to, by pointer
	visits   int
}

func newDecoder(sources []Source, folders []string, ps *problems) *decoder {
	return &decoder{sources: sources, folders: folders, problems: ps,
		fields: map[reflect.Type][]field{}, spots: map[any]spot{}}
}

func (d *decoder) system(root *node) *System {
	sys := &System{}
	root = d.inheritInbound(root)
	d.spots[sys] = spot{root, root.at, nil}
	d.structure(root, reflect.ValueOf(sys).Elem(), nil)
	return sys
}

func (d *decoder) fieldsOf(t reflect.Type) []field {
	fs, ok := d.fields[t]
	if !ok {
		fs = fieldsOf(t)
		d.fields[t] = fs
	}
	return fs
}

// say notes a problem at a position.
func (d *decoder) say(at position, p *path, problem Problem) {
	problem.File, problem.order = d.sources[at.file].Name, at.file
	problem.Line, problem.Column, problem.Path = at.line, at.column, p.String()
	d.problems.add(problem)
}

// value decodes a node into v. A nil node gives the default, or the zero value with the defaults of its fields.
func (d *decoder) value(n *node, v reflect.Value, r rules, p *path) {
	if d.visits++; d.visits > maxVisits {
		if d.visits == maxVisits+1 {
			d.say(n.at, p, Problem{Message: "the system is too large", Expected: fmt.Sprintf("at most %d values", maxVisits)})
		}
		return
	}
	t := v.Type()
	switch {
	case n.kind == brokenKind && t.Kind() != reflect.Pointer:
	case t.Kind() == reflect.Pointer:
		v.Set(reflect.New(t.Elem()))
		d.value(n, v.Elem(), r, p)
		if t.Elem().Kind() == reflect.Struct {
			d.spots[v.Interface()] = spot{n, n.at, p}
		}
	case d.unit(n, v, r, p):
	case t == reflect.TypeFor[Command]():
		d.command(n, v, p)
	case t.Kind() == reflect.Struct:
		d.structure(n, v, p)
	case t.Kind() == reflect.Slice:
		d.list(n, v, r, p)
	case t.Kind() == reflect.Map:
		d.mapping(n, v, r, p)
	case t.Kind() == reflect.Interface:
		if any, ok := d.free(n, p); ok && any != nil {
			v.Set(reflect.ValueOf(any))
		}
	default:
		d.scalar(n, v, r, p)
	}
}

// unit decodes a value with a unit, false where v is none.
func (d *decoder) unit(n *node, v reflect.Value, r rules, p *path) bool {
	if _, _, ok := parseUnit(v.Type(), "0"); !ok {
		return false
	}
	if !n.isScalar() || n.kind == nullKind {
		d.wrong(n, v.Type(), r, p)
		return true
	}
	value, err, _ := parseUnit(v.Type(), n.text)
	if err != nil {
		problem := Problem{Found: n.describe(), Expected: expected(v.Type(), r)}
		if e, ok := err.(*unitError); ok {
			problem.Message = e.reason
			if e.hint != "" {
				problem.Hint = "did you mean " + e.hint + "?"
			}
		}
		d.say(n.at, p, problem)
		return true
	}
	if d.inRange(n, value, r.min, r.max, r.above, p) {
		v.Set(value)
	}
	return true
}

// wrong says that a node is of the wrong type.
func (d *decoder) wrong(n *node, t reflect.Type, r rules, p *path) {
	d.say(n.at, p, Problem{Found: n.describe(), Expected: expected(t, r)})
}

// structure decodes a map into a struct: fields that are left out get their defaults.
func (d *decoder) structure(n *node, v reflect.Value, p *path) {
	t := v.Type()
	if key, _ := shortForm(t); key != "" && n.isScalar() && n.kind != nullKind {
		if key == "min" && n.kind != numberKind {
			d.wrong(n, t, rules{}, p)
			n = &node{kind: brokenKind, at: n.at}
		} else {
			n = &node{kind: mapKind, at: n.at, entries: []entry{{key, n.at, n}}}
		}
	}
	if n.kind != mapKind && n.kind != nullKind && n.kind != brokenKind {
		d.wrong(n, t, rules{}, p)
		n = &node{kind: brokenKind, at: n.at}
	}
	fields := d.fieldsOf(t)
	known := make(map[string]*node, len(n.entries))
	for _, e := range n.entries {
		if strings.HasPrefix(e.key, "x-") {
			continue
		}
		if !slices.ContainsFunc(fields, func(f field) bool { return f.name == e.key }) {
			d.unknown(e, fields, p)
			continue
		}
		if e.value.kind != nullKind {
			known[e.key] = e.value
		}
	}
	for _, f := range fields {
		d.field(known[f.name], n, v.FieldByIndex(f.index), f, p)
	}
}

// field decodes one field of a struct; n is nil where the file does not say it.
func (d *decoder) field(n, around *node, v reflect.Value, f field, p *path) {
	at := p.child(f.name)
	if p == nil {
		at = &path{nil, f.name, -1}
	}
	switch {
	case n != nil:
		if f.rules.hasDefault {
			d.fill(v, f.rules, around, at) // stays where the file's own value is wrong
		}
		d.value(n, v, f.rules, at)
	case f.rules.hasDefault:
		d.fill(v, f.rules, around, at)
	case f.rules.required:
		if around.kind == brokenKind {
			return // the whole was wrong, which has been said
		}
		d.say(around.at, p, Problem{Message: fmt.Sprintf("%q is missing", f.name), Expected: expected(f.typ, f.rules)})
	case v.Kind() == reflect.Struct && v.Type() != reflect.TypeFor[GrowthRate]():
		d.value(&node{kind: nullKind, at: around.at}, v, f.rules, at)
	}
}

// emptyMap is the default of a block whose own fields have defaults: it is there even where the file does not say it.
const emptyMap = "{}"

// fill sets a default: it is decoded as if it stood in the file.
func (d *decoder) fill(v reflect.Value, r rules, around *node, p *path) {
	n := &node{kind: scalarKind(r.def), text: r.def, at: around.at}
	if r.def == emptyMap {
		n = &node{kind: mapKind, at: around.at}
	}
	if inner, ok := strings.CutPrefix(r.def, "["); ok {
		n = &node{kind: listKind, at: around.at}
		for word := range strings.SplitSeq(strings.TrimSuffix(inner, "]"), ",") {
			word = strings.TrimSpace(word)
			n.items = append(n.items, &node{kind: scalarKind(word), text: word, at: around.at})
		}
	}
	d.value(n, v, r, p)
}

func (d *decoder) unknown(e entry, fields []field, p *path) {
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.name
	}
	problem := Problem{Message: "unknown field"}
	if inside := d.inside(e.key, fields); inside != "" {
		problem.Hint = "it belongs under " + inside
	} else {
		problem.Hint = d.problems.didYouMean(e.key, func() []string { return names })
	}
	if problem.Hint == "" {
		slices.Sort(names)
		problem.Expected = oneOf(names)
	}
	d.say(e.keyAt, p.child(e.key), problem)
}

// inside says which fields hold a key that stands one level too high.
func (d *decoder) inside(key string, fields []field) string {
	var in []string
	for _, f := range fields {
		t := f.typ
		if t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		if t.Kind() != reflect.Struct || t == reflect.TypeFor[GrowthRate]() {
			continue
		}
		if slices.ContainsFunc(d.fieldsOf(t), func(inner field) bool { return inner.name == key }) {
			in = append(in, quoteFound(f.name))
		}
	}
	return strings.Join(in, " or ")
}

func (d *decoder) command(n *node, v reflect.Value, p *path) {
	switch n.kind {
	case listKind:
		d.list(n, v, rules{}, p)
	case stringKind, numberKind, boolKind:
		c, err := ParseCommand(n.text)
		if err != nil {
			e := err.(*unitError)
			d.say(n.at, p, Problem{Found: n.describe(), Message: e.reason, Expected: e.want})
			return
		}
		v.Set(reflect.ValueOf(c))
	default:
		d.wrong(n, v.Type(), rules{}, p)
	}
}

// list decodes a list, or one scalar as a list of one.
func (d *decoder) list(n *node, v reflect.Value, r rules, p *path) {
	t := v.Type()
	items, at := n.items, func(i int) *path { return p.item(i) }
	simple := t.Elem().Kind() == reflect.String || t.Elem().Kind() == reflect.Int
	switch {
	case n.kind == listKind:
	case simple && n.isScalar() && n.kind != nullKind:
		items, at = []*node{n}, func(int) *path { return p }
	default:
		d.wrong(n, t, r, p)
		return
	}
	most := maxEntries
	if r.maxItems > 0 {
		most = min(most, r.maxItems)
	}
	if len(items) > most || len(items) < r.minItems {
		want := fmt.Sprintf("at most %d", most)
		if len(items) < r.minItems {
			want = fmt.Sprintf("at least %d", r.minItems)
		}
		d.say(n.at, p, Problem{Found: fmt.Sprintf("%d entries", len(items)), Expected: want})
		items = items[:min(len(items), most)]
	}
	if len(items) == 0 {
		v.SetZero() // nil, so that an empty list is always the same, however it came about
		return
	}
	out := reflect.MakeSlice(t, len(items), len(items))
	for i, item := range items {
		switch {
		case item.kind == nullKind:
			d.wrong(item, t.Elem(), r, at(i))
			d.keepPointer(item, out.Index(i), at(i))
		case t == reflect.TypeFor[Command]() && item.isScalar():
			out.Index(i).SetString(item.text) // arguments may look like numbers
		default:
			d.value(item, out.Index(i), rules{min: r.itemMin, max: r.itemMax, maxLength: r.maxLength}, at(i))
		}
	}
	v.Set(out)
}

// keepPointer makes sure that no list or map holds a nil pointer, whatever is wrong with it.
func (d *decoder) keepPointer(n *node, v reflect.Value, p *path) {
	if v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		d.spots[v.Interface()] = spot{n, n.at, p}
	}
}

// mapping decodes a map with free keys.
func (d *decoder) mapping(n *node, v reflect.Value, r rules, p *path) {
	t := v.Type()
	if n.kind != mapKind {
		d.wrong(n, t, r, p)
		return
	}
	if len(n.entries) > maxEntries {
		d.say(n.at, p, Problem{Found: fmt.Sprintf("%d entries", len(n.entries)), Expected: fmt.Sprintf("at most %d", maxEntries)})
		return
	}
	if len(n.entries) == 0 {
		return
	}
	out := reflect.MakeMapWithSize(t, len(n.entries))
	for _, e := range n.entries {
		at := p.child(e.key)
		if problem, ok := checkKey(r.keys, e.key); !ok {
			d.say(e.keyAt, at, problem)
		}
		value := reflect.New(t.Elem()).Elem()
		elem := t.Elem()
		switch {
		case e.value.kind == nullKind && elem.Kind() == reflect.Pointer && elem.Elem().Kind() == reflect.Struct:
			// 'products:' alone is a map of defaults.
			d.value(&node{kind: mapKind, at: e.value.at}, value, rules{}, at)
		case e.value.kind == nullKind:
			d.say(e.keyAt, at, Problem{Found: "nothing", Expected: expected(elem, rules{}), Hint: `an empty text is written ""`})
		case elem.Kind() == reflect.String && e.value.isScalar():
			d.text(e.value, value, r, at)
		default:
			d.value(e.value, value, rules{min: r.itemMin, max: r.itemMax}, at)
		}
		out.SetMapIndex(reflect.ValueOf(e.key), value)
	}
	v.Set(out)
}

// text decodes any scalar as it is written: the values of environments, headers and forms may look like numbers.
func (d *decoder) text(n *node, v reflect.Value, r rules, p *path) {
	if strings.ContainsRune(n.text, 0) || (r.maxLength > 0 && len(n.text) > r.maxLength) {
		d.say(n.at, p, Problem{Found: n.describe(), Expected: "a shorter text without NUL"})
		return
	}
	v.SetString(n.text)
}

// scalar decodes strings, booleans and numbers.
func (d *decoder) scalar(n *node, v reflect.Value, r rules, p *path) {
	t := v.Type()
	switch {
	case t.Kind() == reflect.String && n.kind == stringKind:
		d.str(n, v, r, p)
	case t.Kind() == reflect.String && (n.kind == numberKind || n.kind == boolKind):
		problem := Problem{Found: n.describe(), Expected: expected(t, r)}
		if len(r.enum) == 0 && r.format == "" {
			problem.Hint = fmt.Sprintf("put it in quotes: %q", n.text)
		}
		d.say(n.at, p, problem)
	case t.Kind() == reflect.Bool && n.kind == boolKind:
		v.SetBool(strings.EqualFold(n.text, "true"))
	case t.Kind() == reflect.Bool && n.kind == stringKind:
		problem := Problem{Found: n.describe(), Expected: expected(t, r)}
		switch strings.ToLower(n.text) {
		case "yes", "on", "y":
			problem.Hint = "did you mean true?"
		case "no", "off", "n":
			problem.Hint = "did you mean false?"
		}
		d.say(n.at, p, problem)
	case t.Kind() == reflect.Int && n.kind == numberKind:
		i, err := strconv.ParseInt(n.text, 10, 32)
		if err != nil {
			d.say(n.at, p, Problem{Found: n.describe(), Expected: "a whole number" + rangeText(r.min, r.max, r.above)})
			return
		}
		value := reflect.ValueOf(int(i))
		if len(r.enum) > 0 && !slices.Contains(r.enum, strconv.FormatInt(i, 10)) {
			d.wrong(n, t, r, p)
		} else if d.inRange(n, value, r.min, r.max, r.above, p) {
			v.Set(value)
		}
	case t.Kind() == reflect.Float64 && n.kind == numberKind:
		f, err := strconv.ParseFloat(n.text, 64)
		if err != nil || math.IsInf(f, 0) {
			d.say(n.at, p, Problem{Found: n.describe(), Message: "is too large", Expected: "a number"})
			return
		}
		if value := reflect.ValueOf(f); d.inRange(n, value, r.min, r.max, r.above, p) {
			v.Set(value)
		}
	default:
		d.wrong(n, t, r, p)
	}
}

// str decodes a string with its rules.
func (d *decoder) str(n *node, v reflect.Value, r rules, p *path) {
	text := n.text
	if len(r.enum) > 0 && !slices.Contains(r.enum, text) {
		d.say(n.at, p, Problem{Found: n.describe(), Expected: oneOf(r.enum), Hint: d.problems.didYouMean(text, func() []string { return r.enum })})
		return
	}
	if strings.ContainsRune(text, 0) {
		d.say(n.at, p, Problem{Found: n.describe(), Expected: "a text without NUL"})
		return
	}
	if problem, ok := checkFormat(r.format, text); !ok {
		problem.Found = n.describe()
		d.say(n.at, p, problem)
		return
	}
	if r.format == "file" {
		text = d.rebase(text, n.at.file)
	}
	v.SetString(text)
}

// rebase makes a path that stands in an overlay relative to the folder of the first file.
func (d *decoder) rebase(text string, file int) string {
	if text == "" || filepath.IsAbs(text) || d.folders[file] == d.folders[0] {
		return text
	}
	rel, err := filepath.Rel(d.folders[0], filepath.Join(d.folders[file], text))
	if err != nil {
		return filepath.Join(d.folders[file], text)
	}
	if !strings.HasPrefix(rel, "..") {
		rel = "./" + rel
	}
	return filepath.ToSlash(rel)
}
