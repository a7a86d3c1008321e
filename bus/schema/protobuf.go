package schema

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/bufbuild/protocompile"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
)

// protoFile is what the text of a schema is called while it is compiled.
const protoFile = "schema.proto"

// compileFor bounds the compiling of a schema.
const compileFor = 10 * time.Second

// parseProto reads a schema of Protocol Buffers: one file, which may import those of google/protobuf. Its first message is that of
// the events.
func parseProto(text []byte) (*Schema, error) {
	ctx, cancel := context.WithTimeout(context.Background(), compileFor)
	defer cancel()
	source := string(text)
	c := protocompile.Compiler{
		MaxParallelism: 1,
		Resolver: protocompile.WithStandardImports(&protocompile.SourceResolver{Accessor: func(path string) (io.ReadCloser, error) {
			if path != protoFile {
				return nil, fmt.Errorf("%s: a schema must stand by itself: only what Protobuf brings along (google/protobuf/...) can be imported", path)
			}
			return io.NopCloser(strings.NewReader(source)), nil
		}}),
	}
	files, err := c.Compile(ctx, protoFile)
	if err != nil {
		return nil, fmt.Errorf("%w: %s", ErrInvalid, oneLine(err.Error()))
	}
	messages := files[0].Messages()
	if messages.Len() == 0 {
		return nil, fmt.Errorf("%w: it has no message; the first one is that of the events", ErrInvalid)
	}
	quoted, err := json.Marshal(source)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return &Schema{text: quoted, doc: source, proto: messages.Get(0)}, nil
}

// checkProto says what is wrong with an event in Protobuf's binary form. Fields that the schema does not have are refused: to the wire
// nearly anything is a message of unknown fields.
func checkProto(m protoreflect.MessageDescriptor, event []byte) error {
	got := dynamicpb.NewMessage(m)
	if err := (proto.UnmarshalOptions{RecursionLimit: 100}).Unmarshal(event, got); err != nil {
		return fmt.Errorf("%w: it is no %s in Protobuf's binary form: %s", ErrMismatch, m.FullName(), oneLine(err.Error()))
	}
	if at, ok := unknownField(got, string(m.Name())); ok {
		return fmt.Errorf("%w: %s", ErrMismatch, at)
	}
	return nil
}

// unknownField finds a field that the schema does not have.
func unknownField(m protoreflect.Message, at string) (what string, found bool) {
	if unknown := m.GetUnknown(); len(unknown) > 0 {
		number := uint64(0)
		for i := 0; i < len(unknown) && i < 10; i++ { // the tag: number and wire type
			number |= uint64(unknown[i]&0x7f) << (7 * i)
			if unknown[i] < 0x80 {
				break
			}
		}
		return fmt.Sprintf("at %s: the schema has no field with the number %d", at, number>>3), true
	}
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		under := at + "." + string(f.Name())
		switch {
		case f.IsMap():
			if f.MapValue().Message() == nil {
				return true
			}
			v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
				what, found = unknownField(v.Message(), under)
				return !found
			})
		case f.Message() == nil:
		case f.IsList():
			for i := 0; i < v.List().Len() && !found; i++ {
				what, found = unknownField(v.List().Get(i).Message(), under)
			}
		default:
			what, found = unknownField(v.Message(), under)
		}
		return !found
	})
	return what, found
}
