package schema

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Errors of callers.
var (
	// ErrInvalid refuses what is no schema.
	ErrInvalid = errors.New("not a schema that can be used")
	// ErrIncompatible refuses a schema that breaks readers or writers of the one before.
	ErrIncompatible = errors.New("the schema is not compatible with the one before")
	// ErrMismatch refuses an event that does not have its topic's schema.
	ErrMismatch = errors.New("the event does not have the schema of its topic")
	// ErrNone answers for a version that is not there.
	ErrNone = errors.New("no such schema")
)

// maxSchema bounds the text of a schema, in bytes.
const maxSchema = 256 << 10

// Schema that events can be checked against.
type Schema struct {
	text     json.RawMessage // compacted; of Protobuf a string
	doc      any
	compiled *jsonschema.Schema
	proto    protoreflect.MessageDescriptor // nil: a JSON Schema
}

// The formats of schemas.
const (
	FormatJSON     = "json-schema"
	FormatProtobuf = "protobuf"
)

// Format of the schema.
func (s *Schema) Format() string {
	if s.proto != nil {
		return FormatProtobuf
	}
	return FormatJSON
}

// nothingElse loads nothing: a schema that a stranger registers must not have files or addresses read.
type nothingElse struct{}

func (nothingElse) Load(url string) (any, error) {
	return nil, fmt.Errorf("%s: a schema must stand by itself: references to others are not supported", url)
}

// location of a schema while it is compiled, which its own references are relative to.
const location = "banyan:///schema.json"

// Parse reads a schema of JSON Schema 2020-12, or of the draft that it names itself; a text that does not begin as JSON is a
// file of Protobuf. The error is ErrInvalid.
func Parse(text []byte) (*Schema, error) {
	if len(text) > maxSchema {
		return nil, fmt.Errorf("%w: %d bytes, the limit is %d", ErrInvalid, len(text), maxSchema)
	}
	if start := bytes.TrimSpace(text); len(start) > 0 && start[0] != '{' && !json.Valid(start) {
		return parseProto(text)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, text); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	c := jsonschema.NewCompiler()
	c.UseLoader(nothingElse{})
	if err := c.AddResource(location, doc); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	compiled, err := c.Compile(location)
	if err != nil {
		return nil, fmt.Errorf("%w: %s", ErrInvalid, oneLine(err.Error()))
	}
	return &Schema{text: compact.Bytes(), doc: doc, compiled: compiled}, nil
}

// Text of the schema: a JSON Schema without blanks, a file of Protobuf as a JSON string.
func (s *Schema) Text() json.RawMessage { return s.text }

// Check says what is wrong with an event, which must be JSON, or in Protobuf's binary form. The error is ErrMismatch, with the
// first few places.
func (s *Schema) Check(event []byte) error {
	if s.proto != nil {
		return checkProto(s.proto, event)
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(event))
	if err != nil {
		return fmt.Errorf("%w: it is not JSON: %s", ErrMismatch, oneLine(err.Error()))
	}
	err = s.compiled.Validate(v)
	var wrong *jsonschema.ValidationError
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &wrong):
		return fmt.Errorf("%w: %w", ErrMismatch, err)
	}
	places := leaves(wrong, nil)
	const most = 5
	text := strings.Join(places[:min(len(places), most)], "; ")
	if len(places) > most {
		text += fmt.Sprintf("; and %d more", len(places)-most)
	}
	return fmt.Errorf("%w: %s", ErrMismatch, text)
}

// leaves are the causes that have no further ones, each with its place in the event.
func leaves(e *jsonschema.ValidationError, found []string) []string {
	if len(found) > 100 {
		return found
	}
	if len(e.Causes) == 0 {
		what := "no value is allowed here"
		if _, never := e.ErrorKind.(*kind.FalseSchema); !never {
			what = e.ErrorKind.LocalizedString(message.NewPrinter(language.English))
		}
		return append(found, "at /"+strings.Join(e.InstanceLocation, "/")+": "+oneLine(what))
	}
	for _, cause := range e.Causes {
		found = leaves(cause, found)
	}
	return found
}

func oneLine(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > 500 {
		s = strings.ToValidUTF8(s[:500], "") + "..."
	}
	return s
}
