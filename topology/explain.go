package topology

import (
	"fmt"
	"reflect"
	"strings"
)

// Explain documents a field of the file by its path, such as services.scale, services.web.scale (the names of services
// and the like may be given or left out) or routes.retry.attempts: its type, default, range and meaning, and the fields
// below it. The empty path documents the file as a whole. An unknown path is an error that names the nearest right one.
func Explain(path string) (string, error) {
	docs, err := readDocs()
	if err != nil {
		return "", err
	}
	e := &explainer{docs: docs, typ: reflect.TypeFor[System](), title: "banyan.yaml"}
	if len(path) > 1024 {
		return "", fmt.Errorf("the path is too long")
	}
	for _, segment := range splitPath(path) {
		if err := e.step(segment); err != nil {
			return "", err
		}
	}
	return e.text(), nil
}

// explainer walks the types along a path.
type explainer struct {
	docs  map[string]typeDocs
	typ   reflect.Type // where the walk is
	field *field       // that led there last, nil at the root
	title string       // path so far, keys as NAME
	keys  int          // keys of maps or indices of lists that may follow
}

// splitPath splits at dots and brackets: routes[0].to is routes, 0, to.
func splitPath(path string) []string {
	return strings.FieldsFunc(path, func(r rune) bool { return r == '.' || r == '[' || r == ']' })
}

// step goes one segment down.
func (e *explainer) step(segment string) error {
	inner, _ := elem(e.typ)
	if !isStruct(inner) {
		if e.keys == 0 {
			return fmt.Errorf("%s has no fields", e.title)
		}
		e.keys--
		return nil
	}
	fields := fieldsOf(inner)
	for i := range fields {
		if fields[i].name == segment {
			e.title = e.child(segment)
			e.field, e.typ = &fields[i], fields[i].typ
			below, keys := elem(e.typ)
			if e.keys = keys; !isStruct(below) && below.Kind() == reflect.Slice {
				e.keys++ // the index of a plain value
			}
			return nil
		}
	}
	near := nearest(segment, names(fields))
	switch {
	case e.keys > 0 && (near == "" || editDistance(segment, near) > 1):
		e.keys--
		return nil
	case near != "":
		return fmt.Errorf("%s has no field %s; did you mean %s?", e.title, quoteFound(segment), e.child(near))
	}
	return fmt.Errorf("%s has no field %s; it has %s", e.title, quoteFound(segment), strings.Join(names(fields), ", "))
}

// child is the title of a field of what the walk is at.
func (e *explainer) child(name string) string {
	if e.field == nil {
		return name
	}
	return e.title + "." + keyWord(e.field.typ) + name
}

// keyWord stands for the keys of a map in titles.
func keyWord(t reflect.Type) string {
	word := ""
	for t.Kind() == reflect.Map || t.Kind() == reflect.Pointer {
		if t.Kind() == reflect.Map {
			word += "NAME."
		}
		t = t.Elem()
	}
	return word
}

func names(fields []field) []string {
	out := make([]string, len(fields))
	for i, f := range fields {
		out[i] = f.name
	}
	return out
}

// text returns the documentation of where the walk ended.
func (e *explainer) text() string {
	var b strings.Builder
	inner, _ := elem(e.typ)
	var limits []string
	switch {
	case e.field == nil:
		b.WriteString(e.title + "\n\n")
		b.WriteString(wrap(e.typeDoc(inner), 100))
	default:
		r := e.field.rules
		fmt.Fprintf(&b, "%s (%s)\n\n", e.title, typeName(e.field.typ, r))
		b.WriteString(wrap(docOf(e.docs, *e.field), 100))
		limits = r.limits()
	}
	if e.field != nil && isStruct(inner) {
		own := docOf(e.docs, *e.field)
		if doc := e.typeDoc(inner); doc != "" && !strings.HasPrefix(own, strings.TrimSuffix(doc, ".")) {
			b.WriteString("\n" + wrap(doc, 100))
		}
	} else if doc := e.docs[inner.Name()].doc; doc != "" && e.field != nil {
		b.WriteString("\n" + wrap(doc, 100))
	}
	if len(limits) > 0 {
		b.WriteString("\n" + strings.Join(limits, "\n") + "\n")
	}
	if isStruct(inner) {
		b.WriteString("\nFields:\n" + e.children(fieldsOf(inner)))
	}
	return b.String()
}

func (e *explainer) typeDoc(t reflect.Type) string { return e.docs[t.Name()].doc }

// children lists fields with a line of documentation each.
func (e *explainer) children(fields []field) string {
	nameWidth, typeWidth := 0, 0
	for _, f := range fields {
		nameWidth = max(nameWidth, len(f.name))
		typeWidth = max(typeWidth, len(typeName(f.typ, f.rules)))
	}
	typeWidth = min(typeWidth, 28)
	var b strings.Builder
	for _, f := range fields {
		line := fmt.Sprintf("  %-*s  %-*s  %s", nameWidth, f.name, typeWidth, typeName(f.typ, f.rules), firstSentence(docOf(e.docs, f)))
		if f.rules.hasDefault {
			line += " Default: " + f.rules.def
		}
		b.WriteString(line + "\n")
	}
	return b.String()
}

// wrap breaks a paragraph into lines.
func wrap(text string, width int) string {
	var b strings.Builder
	column := 0
	for word := range strings.FieldsSeq(text) {
		n := len([]rune(word))
		switch {
		case column == 0:
		case column+1+n > width:
			b.WriteByte('\n')
			column = 0
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += n
	}
	if b.Len() > 0 {
		b.WriteByte('\n')
	}
	return b.String()
}
