package topology

import (
	"embed"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"regexp"
	"strings"
	"unicode"
)

// vocabulary is the source of the types, so that their comments are the only text that documents the file.
//
//go:embed *.go
var vocabulary embed.FS

// typeDocs are the comments of a type and of its fields, by Go name.
type typeDocs struct {
	doc    string
	fields map[string]string
}

// readDocs parses the vocabulary's comments.
func readDocs() (map[string]typeDocs, error) {
	entries, err := vocabulary.ReadDir(".")
	if err != nil {
		return nil, fmt.Errorf("reading the documentation: %w", err)
	}
	docs := map[string]typeDocs{}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		src, err := vocabulary.ReadFile(e.Name())
		if err != nil {
			return nil, fmt.Errorf("reading the documentation: %w", err)
		}
		f, err := parser.ParseFile(token.NewFileSet(), e.Name(), src, parser.ParseComments)
		if err != nil {
			return nil, fmt.Errorf("reading the documentation: %w", err)
		}
		for _, decl := range f.Decls {
			if g, ok := decl.(*ast.GenDecl); ok && g.Tok == token.TYPE {
				for _, spec := range g.Specs {
					addTypeDocs(docs, g, spec.(*ast.TypeSpec))
				}
			}
		}
	}
	return docs, nil
}

func addTypeDocs(docs map[string]typeDocs, g *ast.GenDecl, spec *ast.TypeSpec) {
	doc := spec.Doc
	if doc == nil {
		doc = g.Doc
	}
	d := typeDocs{doc: paragraph(doc.Text()), fields: map[string]string{}}
	if s, ok := spec.Type.(*ast.StructType); ok {
		for _, f := range s.Fields.List {
			for _, name := range f.Names {
				d.fields[name.Name] = paragraph(f.Doc.Text())
			}
		}
	}
	docs[spec.Name.Name] = d
}

// paragraph joins the lines of a comment.
func paragraph(text string) string { return strings.Join(strings.Fields(text), " ") }

// docOf returns a field's documentation, which begins with its key where the comment begins with its Go name.
func docOf(docs map[string]typeDocs, f field) string {
	text := docs[f.owner.Name()].fields[f.goal]
	if rest, ok := strings.CutPrefix(text, f.goal+" "); ok && strings.Contains(f.name, "_") {
		text = f.name + " " + rest
	}
	return text
}

// firstSentence of a documentation.
func firstSentence(text string) string {
	for i := 0; i+2 < len(text); i++ {
		if (text[i] == '.' || text[i] == ':') && text[i+1] == ' ' && unicode.IsUpper(rune(text[i+2])) {
			return text[:i] + "."
		}
	}
	return text
}

// elem returns the type below pointers, lists and maps, and how many keys or indices lead to it.
func elem(t reflect.Type) (inner reflect.Type, keys int) {
	for {
		switch {
		case t.Kind() == reflect.Pointer:
			t = t.Elem()
		case t.Kind() == reflect.Map, t.Kind() == reflect.Slice && holdsStructs(t):
			t, keys = t.Elem(), keys+1
		default:
			return t, keys
		}
	}
}

func isStruct(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && t != reflect.TypeFor[GrowthRate]()
}

// limits says the rules of a field in words, a line each.
func (r rules) limits() []string {
	var out []string
	if r.required {
		out = append(out, "Required.")
	}
	if r.hasDefault {
		def := r.def
		if def == "" {
			def = `""`
		}
		out = append(out, "Default: "+def)
	}
	if len(r.enum) > 1 {
		out = append(out, "One of: "+strings.Join(r.enum, ", "))
	}
	if text := strings.TrimSpace(rangeText(r.min, r.max, r.above)); text != "" {
		out = append(out, "Range: "+text)
	}
	if text := strings.TrimSpace(rangeText(r.itemMin, r.itemMax, "")); text != "" {
		out = append(out, "Range of each: "+text)
	}
	if text := strings.TrimSpace(rangeText(atLeast(r.minItems), atLeast(r.maxItems), "")); text != "" {
		out = append(out, "Entries: "+text)
	}
	return out
}

func atLeast(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

// typeName says the type of a field in a few words.
func typeName(t reflect.Type, r rules) string {
	if key, want := shortForm(t); key != "" {
		return want
	}
	switch t {
	case reflect.TypeFor[Command](), reflect.TypeFor[Strings]():
		return strings.ToLower(t.Name())
	case reflect.TypeFor[GrowthRate](), reflect.TypeFor[Duration](), reflect.TypeFor[Bytes](),
		reflect.TypeFor[Percent](), reflect.TypeFor[Rate](), reflect.TypeFor[CPU]():
		want := expected(t, rules{})
		want, _, _ = strings.Cut(want, " such as ")
		return strings.TrimPrefix(want, "a ")
	}
	switch t.Kind() {
	case reflect.Pointer:
		return typeName(t.Elem(), r)
	case reflect.Slice:
		return "list of " + plural(typeName(t.Elem(), rules{}))
	case reflect.Map:
		return "map of " + plural(typeName(t.Elem(), rules{}))
	case reflect.String:
		if r.format != "" {
			return r.format
		}
		return "text"
	case reflect.Int:
		return "whole number"
	case reflect.Float64:
		return "number"
	case reflect.Bool:
		return "true or false"
	case reflect.Interface:
		return "any value"
	}
	return strings.ToLower(words.ReplaceAllString(t.Name(), "$1 $2"))
}

// words finds the borders of the words in a Go name.
var words = regexp.MustCompile(`([a-z])([A-Z])`)

func plural(name string) string {
	switch {
	case strings.HasPrefix(name, "map of"), strings.HasPrefix(name, "list of"):
		kind, of, _ := strings.Cut(name, " ")
		return kind + "s " + of
	case strings.HasSuffix(name, "s") || name == "any value":
		return name
	case strings.HasSuffix(name, "y"):
		return strings.TrimSuffix(name, "y") + "ies"
	}
	return name + "s"
}
