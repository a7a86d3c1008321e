package ui

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
)

// linker joins a module and all that it needs into one, so that one request brings them. Each becomes a function that is called once and returns what the module exports, behind those that it needs:
//
//	const module$1 = (() => { const { h } = module$0; ...; return { html } })();
//
// This means the same as the modules do, if none needs itself, none waits at its top level, and nothing is assigned to a name again after its
// module has run. The first is checked here, and that no import or export is left in a form that is not known; modules of this page keep the rest.
type linker struct {
	files map[string][]byte
	ids   map[string]int // of the modules that are joined
	path  []string       // modules that need each other, down to the one that is read
	out   strings.Builder
}

// The forms of imports and exports in this page's modules and in the packages that it comes with.
var (
	importLine    = regexp.MustCompile(`(?m)^import\s*(?:(\w+)|\{([^{}]*)\})\s*from\s*["']([^"'\n]+)["'];?`)
	exportFrom    = regexp.MustCompile(`(?m)^export\s*\{([^{}]*)\}\s*from\s*["']([^"'\n]+)["'];?`)
	exportList    = regexp.MustCompile(`(?m)(^|[;}])export\s*\{([^{}]*)\};?$`)
	exportNamed   = regexp.MustCompile(`(?m)^export ((?:async )?function|const|class) (\w+)`)
	exportDefault = regexp.MustCompile(`(?m)(^|;)export default (function\s*\()`)
	leftOver      = regexp.MustCompile(`(?m)(?:^|[;{}])\s*(?:import|export)\b[^\n]{0,40}|\bimport\s*[(.][^\n]{0,40}`)
)

// link returns a module that does what main and all that it needs do.
func link(files map[string][]byte, main string) ([]byte, error) {
	l := &linker{files: files, ids: map[string]int{}}
	if _, err := l.module(main); err != nil {
		return nil, fmt.Errorf("joining the page's modules: %w", err)
	}
	return []byte(l.out.String()), nil
}

// module joins a module and those that it needs, and returns the name of the object that has what it exports.
func (l *linker) module(name string) (object string, err error) {
	if id, done := l.ids[name]; done {
		return fmt.Sprintf("module$%d", id), nil
	}
	data, ok := l.files[name]
	switch {
	case !ok:
		return "", errors.New("there is no such file")
	case slices.Contains(l.path, name):
		return "", errors.New("it needs itself")
	case strings.Contains(string(data), "module$"):
		return "", errors.New("module$ is a name of the joined script's own")
	}
	l.path = append(l.path, name)
	body, exports, err := l.body(name, string(data))
	if err != nil {
		return "", err
	}
	l.path = l.path[:len(l.path)-1]
	id := len(l.ids)
	l.ids[name] = id
	fmt.Fprintf(&l.out, "// %s\nconst module$%d = (() => {\n%s;\nreturn { %s }\n})();\n", name, id, strings.TrimSpace(body), strings.Join(exports, ", "))
	return fmt.Sprintf("module$%d", id), nil
}

// body rewrites what a module imports and exports. exports are the properties of the object that it returns.
func (l *linker) body(name, text string) (body string, exports []string, err error) {
	from := func(file string) string {
		object, failed := l.module(path.Join(path.Dir(name), file))
		if failed != nil && err == nil {
			err = fmt.Errorf("%s needs %s: %w", name, file, failed)
		}
		return object
	}
	replace := func(form *regexp.Regexp, with func(m []string) string) {
		text = form.ReplaceAllStringFunc(text, func(s string) string { return with(form.FindStringSubmatch(s)) })
	}
	replace(importLine, func(m []string) string {
		if m[1] != "" {
			return fmt.Sprintf("const %s = %s.default;", m[1], from(m[3]))
		}
		return fmt.Sprintf("const { %s } = %s;", renamed(m[2], "%s: %s"), from(m[3]))
	})
	replace(exportFrom, func(m []string) string {
		exports = append(exports, renamed(m[1], "%[2]s: "+from(m[2])+".%[1]s"))
		return ""
	})
	replace(exportList, func(m []string) string {
		exports = append(exports, renamed(m[2], "%[2]s: %[1]s"))
		return m[1]
	})
	replace(exportNamed, func(m []string) string {
		exports = append(exports, m[2])
		return m[1] + " " + m[2]
	})
	replace(exportDefault, func(m []string) string {
		exports = append(exports, "default: module$default")
		return m[1] + "const module$default = " + m[2]
	})
	if left := leftOver.FindString(text); left != "" && err == nil {
		err = fmt.Errorf("%s: this import or export is not known: %q", name, left)
	}
	return text, exports, err
}

// renamed writes the names of a list such as 'a, b as c' in another form: the name there and the name here.
func renamed(list, form string) string {
	var all []string
	for _, one := range strings.Split(list, ",") {
		there, here, as := strings.Cut(strings.TrimSpace(one), " as ")
		if !as {
			here = there
		}
		if there != "" {
			all = append(all, fmt.Sprintf(form, there, here))
		}
	}
	return strings.Join(all, ", ")
}
