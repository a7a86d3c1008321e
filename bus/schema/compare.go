package schema

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// comparison asks whether all that a narrow schema allows is allowed by a wide one.
type comparison struct {
	wide, narrow any
	under        map[[2]string]bool // pairs of references that are being compared
	steps        int
}

// maxSteps bounds a comparison: alternatives of alternatives grow fast.
const maxSteps = 20_000

func contains(wide, narrow *Schema) []string {
	c := &comparison{wide: wide.doc, narrow: narrow.doc, under: map[[2]string]bool{}}
	return c.compare(wide.doc, narrow.doc, "")
}

type object = map[string]any

// compare returns why the narrow one allows what the wide one does not.
func (c *comparison) compare(wide, narrow any, at string) []string {
	if c.steps++; c.steps > maxSteps {
		return c.because(at, "the schemas are too involved to be compared")
	}
	w, wAny := asObject(wide)
	n, _ := asObject(narrow)
	switch {
	case wAny && len(w) == 0, n == nil:
		return nil // anything is allowed, or there is nothing to allow
	case w == nil:
		return c.because(at, "nothing is allowed there any more")
	}
	if ref, ok := w["$ref"].(string); ok {
		return c.follow(w, n, ref, at)
	}
	if ref, ok := n["$ref"].(string); ok {
		target, ok := lookUp(c.narrow, ref)
		if !ok {
			return c.because(at, fmt.Sprintf("the reference %q can't be followed", ref))
		}
		// Both the target and what stands beside it hold, so either one is enough.
		return c.anyOf(at, []func() []string{
			func() []string { return c.compare(w, target, at) },
			func() []string { return c.compare(w, without(n, "$ref"), at) }})
	}
	base := c.rules(w, n, at)
	if len(base) == 0 {
		return nil
	}
	return c.alternatives(w, n, base, at)
}

// follow goes where a reference of the wide one leads. A pair that is being compared already holds if all else does.
func (c *comparison) follow(w, n object, ref, at string) []string {
	target, ok := lookUp(c.wide, ref)
	if !ok {
		return c.because(at, fmt.Sprintf("the reference %q can't be followed", ref))
	}
	text, _ := json.Marshal(n)
	c.steps += len(text) / 256
	pair := [2]string{ref, string(text)}
	var reasons []string
	if !c.under[pair] {
		c.under[pair] = true
		reasons = c.compare(target, n, at)
		delete(c.under, pair)
	}
	if rest := without(w, "$ref"); len(rest) > 0 {
		reasons = append(reasons, c.compare(rest, n, at)...)
	}
	return reasons
}

// alternatives looks whether what the narrow one says by allOf, anyOf and oneOf is narrow enough, where the rest of it is not.
func (c *comparison) alternatives(w, n object, base []string, at string) []string {
	for _, branch := range list(n["allOf"]) {
		if len(c.compare(w, branch, at)) == 0 {
			return nil
		}
	}
	for _, key := range []string{"anyOf", "oneOf"} {
		branches := list(n[key])
		var reasons []string
		for _, branch := range branches {
			reasons = append(reasons, c.compare(w, branch, at)...)
		}
		if len(branches) > 0 && len(reasons) == 0 {
			return nil
		}
	}
	return base
}

// anyOf is the shortest answer of several questions of which one is enough.
func (c *comparison) anyOf(at string, questions []func() []string) (best []string) {
	for i, ask := range questions {
		reasons := ask()
		if i == 0 || len(reasons) < len(best) {
			best = reasons
		}
		if len(best) == 0 {
			return nil
		}
	}
	return best
}

// rules compares keyword by keyword.
func (c *comparison) rules(w, n object, at string) (reasons []string) {
	types := c.typesOf(n)
	reasons = append(reasons, c.types(w, types, at)...)
	reasons = append(reasons, c.values(w, n, at)...)
	reasons = append(reasons, c.combined(w, n, at)...)
	if _, fixed := valuesOf(n); fixed {
		return reasons // each of its values was looked at, as far as can be
	}
	for _, t := range types {
		switch t {
		case "object":
			reasons = append(reasons, c.objects(w, n, at)...)
		case "array":
			reasons = append(reasons, c.arrays(w, n, at)...)
		case "string":
			reasons = append(reasons, c.bounds(w, n, at, "minLength", "maxLength")...)
			reasons = append(reasons, c.same(w, n, at, "pattern")...)
		case "number", "integer":
			reasons = append(reasons, c.numbers(w, n, at, t == "integer")...)
		}
	}
	return reasons
}

var allTypes = []string{"null", "boolean", "object", "array", "number", "string"}

// typesOf are the types that a schema allows.
func (c *comparison) typesOf(s object) []string {
	if values, fixed := valuesOf(s); fixed {
		var types []string
		for _, v := range values {
			if t := typeOf(v); !slices.Contains(types, t) {
				types = append(types, t)
			}
		}
		return types
	}
	switch t := s["type"].(type) {
	case string:
		return []string{t}
	case []any:
		types := texts(t)
		if slices.Contains(types, "number") {
			types = slices.DeleteFunc(types, func(t string) bool { return t == "integer" })
		}
		return types
	}
	return allTypes
}

func (c *comparison) types(w object, types []string, at string) (reasons []string) {
	if w["type"] == nil {
		return nil
	}
	allowed := c.typesOf(object{"type": w["type"]})
	for _, t := range types {
		if !slices.Contains(allowed, t) && (t != "integer" || !slices.Contains(allowed, "number")) {
			reasons = append(reasons, c.because(at, fmt.Sprintf("%s is allowed by one, only %s by the other", t, strings.Join(allowed, " or ")))...)
		}
	}
	return reasons
}

// valuesOf are those of const or enum.
func valuesOf(s object) ([]any, bool) {
	if v, ok := s["const"]; ok {
		return []any{v}, true
	}
	v, ok := s["enum"].([]any)
	return v, ok
}

func (c *comparison) values(w, n object, at string) (reasons []string) {
	have, fixed := valuesOf(n)
	if allowed, ok := valuesOf(w); ok {
		if !fixed {
			return c.because(at, "only some values are allowed by one, any by the other")
		}
		for _, v := range have {
			if !slices.ContainsFunc(allowed, func(a any) bool { return equal(a, v) }) {
				text, _ := json.Marshal(v)
				reasons = append(reasons, c.because(at, fmt.Sprintf("the value %.100s is allowed by one only", text))...)
			}
		}
		return reasons
	}
	if !fixed {
		return nil
	}
	// Each value is checked against the other schema, as one that knows its own references.
	root, ok := c.wide.(object)
	if !ok {
		return nil
	}
	whole := object{}
	for _, key := range []string{"$defs", "definitions", "$schema"} {
		if v, has := root[key]; has {
			whole[key] = v
		}
	}
	for key, v := range w {
		whole[key] = v
	}
	text, err := json.Marshal(whole)
	c.steps += 20 + len(text)/256
	var s *Schema
	if err == nil && onlyDefined(string(text)) && c.steps <= maxSteps {
		s, err = Parse(text)
	}
	if err != nil || s == nil {
		return c.because(at, "its values can't be compared")
	}
	for _, v := range have {
		text, _ := json.Marshal(v)
		if s.Check(text) != nil {
			reasons = append(reasons, c.because(at, fmt.Sprintf("the value %.100s is allowed by one only", text))...)
		}
	}
	return reasons
}

// onlyDefined reports whether all references of a schema lead to its definitions, which stay where they are.
func onlyDefined(text string) bool {
	const ref = `"$ref":"`
	return strings.Count(text, ref) == strings.Count(text, ref+"#/$defs/")+strings.Count(text, ref+"#/definitions/")
}

// combined compares what the wide one asks for besides: all of allOf, one of anyOf. What is more involved must be the same.
func (c *comparison) combined(w, n object, at string) (reasons []string) {
	for _, branch := range list(w["allOf"]) {
		reasons = append(reasons, c.compare(branch, n, at)...)
	}
	if branches := list(w["anyOf"]); len(branches) > 0 && !c.equalHere(w, n, "anyOf") {
		var questions []func() []string
		for _, branch := range branches {
			questions = append(questions, func() []string { return c.compare(branch, n, at) })
		}
		if len(c.anyOf(at, questions)) > 0 {
			// A narrow one of alternatives has each of them in one of the wide one's.
			reasons = append(reasons, c.each(w, n, at)...)
		}
	}
	return append(reasons, c.same(w, n, at, "oneOf", "not", "if", "then", "else", "$dynamicRef", "$recursiveRef")...)
}

// each wants each alternative of the narrow one within one alternative of the wide one.
func (c *comparison) each(w, n object, at string) (reasons []string) {
	branches := list(n["anyOf"])
	if len(branches) == 0 {
		branches = list(n["oneOf"])
	}
	if types, ok := n["type"].([]any); ok && len(branches) == 0 {
		for _, t := range types {
			one := without(n, "type")
			one["type"] = t
			branches = append(branches, one)
		}
	}
	if len(branches) == 0 {
		return c.because(at, "none of anyOf allows all that the other schema allows")
	}
	for _, branch := range branches {
		var questions []func() []string
		for _, wide := range list(w["anyOf"]) {
			questions = append(questions, func() []string { return c.compare(wide, branch, at) })
		}
		reasons = append(reasons, c.anyOf(at, questions)...)
	}
	return reasons
}

func (c *comparison) because(at, reason string) []string {
	if at == "" {
		at = "/"
	}
	return []string{at + ": " + reason}
}

// same wants keywords that are not looked into to be the same, or absent in the wide one.
func (c *comparison) same(w, n object, at string, keys ...string) (reasons []string) {
	for _, key := range keys {
		if _, has := w[key]; has && !c.equalHere(w, n, key) {
			reasons = append(reasons, c.because(at, key+" differs, and it can't be told what follows from that")...)
		}
	}
	return reasons
}

// equalHere reports whether a keyword is the same in both, and means the same: references lead into the whole schemas.
func (c *comparison) equalHere(w, n object, key string) bool {
	if !equal(w[key], n[key]) {
		return false
	}
	text, _ := json.Marshal(w[key])
	return !strings.Contains(string(text), `Ref":`) && !strings.Contains(string(text), `"$ref":`) || equal(c.wide, c.narrow)
}

// asObject returns a schema's keywords: none where anything is allowed, nil where nothing is.
func asObject(s any) (o object, ok bool) {
	switch s := s.(type) {
	case nil:
		return object{}, true
	case bool:
		if s {
			return object{}, true
		}
		return nil, false
	case object:
		return s, true
	}
	return object{}, true
}

// lookUp follows a reference within a schema: '#', or a JSON pointer behind it.
func lookUp(root any, ref string) (any, bool) {
	pointer, ok := strings.CutPrefix(ref, "#")
	if !ok || pointer != "" && !strings.HasPrefix(pointer, "/") {
		return nil, false
	}
	v := root
	for token := range strings.SplitSeq(pointer, "/") {
		if token == "" {
			continue
		}
		token = strings.NewReplacer("~1", "/", "~0", "~").Replace(token)
		o, isObject := v.(object)
		if !isObject {
			return nil, false
		}
		if v, ok = o[token]; !ok {
			return nil, false
		}
	}
	return v, true
}

func without(o object, key string) object {
	rest := object{}
	for k, v := range o {
		if k != key {
			rest[k] = v
		}
	}
	return rest
}

func list(v any) []any {
	l, _ := v.([]any)
	return l
}

func texts(l []any) (out []string) {
	for _, v := range l {
		if s, ok := v.(string); ok {
			out = append(out, s)
		}
	}
	return out
}

func typeOf(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case string:
		return "string"
	case []any:
		return "array"
	case json.Number:
		if r := number(v); r != nil && r.IsInt() {
			return "integer"
		}
		return "number"
	}
	return "object"
}

// equal compares JSON; numbers by their value.
func equal(a, b any) bool {
	x, xOK := a.(json.Number)
	y, yOK := b.(json.Number)
	if xOK && yOK {
		p, q := number(x), number(y)
		return p != nil && q != nil && p.Cmp(q) == 0
	}
	switch a := a.(type) {
	case []any:
		b, ok := b.([]any)
		return ok && slices.EqualFunc(a, b, equal)
	case object:
		b, ok := b.(object)
		if !ok || len(a) != len(b) {
			return false
		}
		for k, v := range a {
			if w, has := b[k]; !has || !equal(v, w) {
				return false
			}
		}
		return true
	}
	return reflect.DeepEqual(a, b)
}
