package topology

import (
	"fmt"
	"strings"
)

// maxEdits bounds how many edits one overlay is made of.
const maxEdits = 100

// Edits returns an overlay that sets single fields of a system, each given as PATH=VALUE: services.catalog.replicas=3,
// services.web.limits={cpu: 0.5}, or routes.NAME.timeout=2s with the name of a route, which may hold dots and spaces. The
// value is YAML; null takes the field away. The error names the edit that is none; whether the fields exist is for Load
// to say.
func Edits(sys *System, edits ...string) (Source, error) {
	if len(edits) > maxEdits {
		return Source{}, fmt.Errorf("%d edits: at most %d can be made at once", len(edits), maxEdits)
	}
	root := &editTree{}
	routes := map[string]*editTree{}
	var names []string
	for _, edit := range edits {
		path, value, ok := strings.Cut(edit, "=")
		path, value = strings.TrimSpace(path), strings.TrimSpace(value)
		if !ok || path == "" || strings.ContainsAny(edit, "\n\r") {
			return Source{}, fmt.Errorf("%q is no change: want PATH=VALUE, such as services.catalog.replicas=3", edit)
		}
		if value == "" {
			value = `""`
		}
		rest, isRoute := strings.CutPrefix(path, "routes.")
		if !isRoute {
			root.set(strings.Split(path, "."), value)
			continue
		}
		name, field, err := routeField(sys, rest)
		if err != nil {
			return Source{}, fmt.Errorf("%q: %w", edit, err)
		}
		if routes[name] == nil {
			routes[name] = &editTree{}
			names = append(names, name)
		}
		routes[name].set(field, value)
	}
	var b strings.Builder
	root.write(&b, "")
	if len(names) > 0 {
		b.WriteString("routes:\n")
	}
	for _, name := range names {
		fmt.Fprintf(&b, "  - name: %q\n", name)
		routes[name].write(&b, "    ")
	}
	return Source{Name: "changes", Data: []byte(b.String())}, nil
}

// routeField splits what follows 'routes.' at the end of the longest name of a route.
func routeField(sys *System, rest string) (name string, field []string, err error) {
	for _, r := range sys.Routes {
		if tail, ok := strings.CutPrefix(rest, r.Name+"."); ok && len(r.Name) >= len(name) && tail != "" {
			name, field = r.Name, strings.Split(tail, ".")
		}
	}
	if field == nil {
		var known []string
		for _, r := range sys.Routes {
			known = append(known, r.Name)
		}
		return "", nil, fmt.Errorf("there is no such route; the routes are %s", strings.Join(known, ", "))
	}
	return name, field, nil
}

// editTree is a map of fields in the order in which they were set.
type editTree struct {
	keys   []string
	values map[string]string
	below  map[string]*editTree
}

func (t *editTree) set(path []string, value string) {
	key := path[0]
	if t.values == nil {
		t.values, t.below = map[string]string{}, map[string]*editTree{}
	}
	_, leaf := t.values[key]
	if !leaf && t.below[key] == nil {
		t.keys = append(t.keys, key)
	}
	if len(path) == 1 {
		t.values[key] = value
		delete(t.below, key)
		return
	}
	delete(t.values, key)
	if t.below[key] == nil {
		t.below[key] = &editTree{}
	}
	t.below[key].set(path[1:], value)
}

func (t *editTree) write(b *strings.Builder, indent string) {
	for _, key := range t.keys {
		if value, leaf := t.values[key]; leaf {
			fmt.Fprintf(b, "%s%q: %s\n", indent, key, value)
			continue
		}
		fmt.Fprintf(b, "%s%q:\n", indent, key)
		t.below[key].write(b, indent+"  ")
	}
}
