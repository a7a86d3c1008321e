package ui

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"time"
)

// Document is the OpenAPI 3.1 description of operations. Schemas are derived from the Go types that the handlers write,
// so that they cannot differ from them; durations are whole nanoseconds where their names end in _ns.
func Document(version string, operations []Operation) ([]byte, error) {
	b := &documentBuilder{schemas: map[string]any{}, names: map[reflect.Type]string{}}
	paths := map[string]map[string]any{}
	for _, o := range operations {
		if paths[o.Path] == nil {
			paths[o.Path] = map[string]any{}
		}
		paths[o.Path][strings.ToLower(o.Method)] = b.operation(o)
	}
	if version == "" {
		version = "unknown"
	}
	doc := map[string]any{
		"openapi": "3.1.0",
		"info": map[string]any{
			"title": "Banyan control API", "version": version,
			"description": "The API behind 'banyan' and its page. Over the control socket (.banyan/control.sock) its owner may do everything. On the admin address " +
				"programs of this machine may read; what takes the token says so; what is only served on the socket has x-socket-only.",
		},
		"paths": paths,
		"components": map[string]any{
			"schemas":         b.schemas,
			"securitySchemes": map[string]any{"token": map[string]any{"type": "http", "scheme": "bearer", "description": "The token in .banyan/ui.token, which 'banyan ui' prints. Not asked for on the control socket."}},
		},
	}
	out, err := json.MarshalIndent(doc, "", " ")
	if err != nil {
		return nil, fmt.Errorf("describing the API: %w", err)
	}
	return out, nil
}

type documentBuilder struct {
	schemas map[string]any
	names   map[reflect.Type]string
}

func (b *documentBuilder) operation(o Operation) map[string]any {
	out := map[string]any{"summary": o.Summary, "operationId": operationID(o)}
	var params []any
	for rest := o.Path; ; {
		_, after, ok := strings.Cut(rest, "{")
		if !ok {
			break
		}
		name, tail, _ := strings.Cut(after, "}")
		params = append(params, map[string]any{"name": name, "in": "path", "required": true, "schema": map[string]any{"type": "string"}})
		rest = tail
	}
	for _, p := range o.Query {
		params = append(params, map[string]any{"name": p.Name, "in": "query", "description": p.About, "required": p.Required, "schema": map[string]any{"type": "string"}})
	}
	if len(params) > 0 {
		out["parameters"] = params
	}
	if o.Body != nil {
		out["requestBody"] = map[string]any{"required": true, "content": content("application/json", b.of(reflect.TypeOf(o.Body)))}
	}
	ok := map[string]any{"description": "done"}
	switch {
	case o.Events != nil:
		events := map[string]any{}
		for name, v := range o.Events {
			events[name] = b.of(reflect.TypeOf(v))
		}
		ok["content"] = content("text/event-stream", map[string]any{"type": "string"})
		out["x-events"] = events
	case o.Answer != nil:
		ok["content"] = content("application/json", b.of(reflect.TypeOf(o.Answer)))
	}
	out["responses"] = map[string]any{"200": ok,
		"default": map[string]any{"description": "what was wrong, in words", "content": content("application/json", b.of(reflect.TypeFor[Problem]()))}}
	switch o.Access {
	case Guarded:
		out["security"] = []any{map[string]any{"token": []string{}}}
	case SocketOnly:
		out["x-socket-only"] = true
	}
	return out
}

func operationID(o Operation) string {
	id := strings.ToLower(o.Method)
	for _, word := range strings.FieldsFunc(strings.TrimPrefix(o.Path, "/v1/"), func(r rune) bool { return strings.ContainsRune("/-{}", r) }) {
		id += strings.ToUpper(word[:1]) + word[1:]
	}
	return id
}

func content(kind string, schema any) map[string]any {
	return map[string]any{kind: map[string]any{"schema": schema}}
}

var (
	timeType     = reflect.TypeFor[time.Time]()
	durationType = reflect.TypeFor[time.Duration]()
	valuesType   = reflect.TypeFor[Values]()
	jsonType     = reflect.TypeFor[json.Marshaler]()
	textType     = reflect.TypeFor[encoding.TextMarshaler]()
)

// of is the schema of what encoding/json makes of a type.
func (b *documentBuilder) of(t reflect.Type) any {
	switch {
	case t == timeType:
		return map[string]any{"type": "string", "format": "date-time"}
	case t == durationType:
		return map[string]any{"type": "integer", "format": "int64", "description": "nanoseconds"}
	case t == valuesType:
		return map[string]any{"type": []string{"array", "null"}, "items": map[string]any{"type": []string{"number", "null"}}}
	case t.Kind() == reflect.Pointer:
		return map[string]any{"anyOf": []any{b.of(t.Elem()), map[string]any{"type": "null"}}}
	case t.Implements(jsonType) || reflect.PointerTo(t).Implements(jsonType):
		return map[string]any{} // it writes itself
	case t.Implements(textType):
		return map[string]any{"type": "string"}
	}
	switch t.Kind() {
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return map[string]any{"type": "integer"}
	case reflect.Float32, reflect.Float64:
		return map[string]any{"type": "number"}
	case reflect.String:
		return map[string]any{"type": "string"}
	case reflect.Slice, reflect.Array:
		if t.Elem().Kind() == reflect.Uint8 {
			return map[string]any{"type": []string{"string", "null"}, "contentEncoding": "base64"}
		}
		return map[string]any{"type": []string{"array", "null"}, "items": b.of(t.Elem())}
	case reflect.Map:
		return map[string]any{"type": []string{"object", "null"}, "additionalProperties": b.of(t.Elem())}
	case reflect.Struct:
		return map[string]any{"$ref": "#/components/schemas/" + b.named(t)}
	}
	return map[string]any{} // anything
}

// named describes a struct once, under its name, or under that of its package as well where another has that.
func (b *documentBuilder) named(t reflect.Type) string {
	if name, ok := b.names[t]; ok {
		return name
	}
	name := t.Name()
	if name == "" {
		name = "Object"
	}
	if _, taken := b.schemas[name]; taken {
		pkg := t.PkgPath()[strings.LastIndex(t.PkgPath(), "/")+1:]
		name = pkg + name
		for n := 2; b.schemas[name] != nil; n++ {
			name = fmt.Sprintf("%s%s%d", pkg, t.Name(), n)
		}
	}
	b.names[t] = name
	properties, required := map[string]any{}, []string{}
	schema := map[string]any{"type": "object", "properties": properties, "additionalProperties": false}
	b.schemas[name] = schema
	for _, f := range reflect.VisibleFields(t) {
		tag, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !f.IsExported() || tag == "-" || (f.Anonymous && tag == "") || hidden(t, f) {
			continue
		}
		if tag == "" {
			tag = f.Name
		}
		if properties[tag] != nil && len(f.Index) > 1 {
			continue // the shallower one of that name counts
		}
		properties[tag] = b.of(f.Type)
		if !strings.Contains(options, "omitempty") && !strings.Contains(options, "omitzero") && !throughPointer(t, f) {
			required = append(required, tag)
		}
	}
	schema["required"] = required
	return name
}

// hidden reports whether a field of an embedded struct is written as part of that struct, which has a name of its own.
func hidden(t reflect.Type, f reflect.StructField) bool {
	for i := 1; i < len(f.Index); i++ {
		if tag, _, _ := strings.Cut(t.FieldByIndex(f.Index[:i]).Tag.Get("json"), ","); tag != "" {
			return true
		}
	}
	return false
}

// throughPointer reports whether a field is that of an embedded pointer, which may be nil.
func throughPointer(t reflect.Type, f reflect.StructField) bool {
	for i := 1; i < len(f.Index); i++ {
		if t.FieldByIndex(f.Index[:i]).Type.Kind() == reflect.Pointer {
			return true
		}
	}
	return false
}
