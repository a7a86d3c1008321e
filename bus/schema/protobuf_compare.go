package schema

import (
	"fmt"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// What may change and what may not is said in "Updating A Message Type" of the Protocol Buffers language guide, and in the rules of
// the WIRE category of buf's breaking-change detection. Names do not count, for they are not sent; numbers do. Of the types that
// the guide calls compatible those count that lose nothing: an int64 that is read as int32 is cut off without an error.

// pair of messages, or enumerations, that are compared; so that those which hold themselves are compared once.
type pair struct{ a, b protoreflect.FullName }

// widened says which other types a field may have that is read: what was written is the same value there.
var widened = map[protoreflect.Kind][]protoreflect.Kind{
	protoreflect.BoolKind:   {protoreflect.Int32Kind, protoreflect.Uint32Kind, protoreflect.Int64Kind, protoreflect.Uint64Kind},
	protoreflect.EnumKind:   {protoreflect.Int32Kind, protoreflect.Int64Kind},
	protoreflect.Int32Kind:  {protoreflect.Int64Kind},
	protoreflect.Uint32Kind: {protoreflect.Uint64Kind, protoreflect.Int64Kind},
	protoreflect.Sint32Kind: {protoreflect.Sint64Kind},
	protoreflect.StringKind: {protoreflect.BytesKind},
}

func readAs(written, read protoreflect.Kind) bool {
	if written == read {
		return true
	}
	for _, k := range widened[written] {
		if k == read {
			return true
		}
	}
	return false
}

// readsProto says why messages that were written under one schema can't be read by the reader's.
func readsProto(reader, writer *Schema) []string {
	c := protoReading{under: map[pair]bool{}}
	c.messages(reader.proto, writer.proto, string(reader.proto.Name()))
	return c.reasons
}

type protoReading struct {
	under   map[pair]bool
	reasons []string
}

func (c *protoReading) because(at, format string, v ...any) {
	c.reasons = append(c.reasons, at+": "+fmt.Sprintf(format, v...))
}

// visited reports whether a pair is or was compared.
func visited(seen map[pair]bool, a, b protoreflect.Descriptor) bool {
	p := pair{a.FullName(), b.FullName()}
	was := seen[p]
	seen[p] = true
	return was
}

func (c *protoReading) messages(reader, writer protoreflect.MessageDescriptor, at string) {
	if visited(c.under, reader, writer) {
		return
	}
	fields := reader.Fields()
	for i := range fields.Len() {
		r := fields.Get(i)
		w := writer.Fields().ByNumber(r.Number())
		under := fmt.Sprintf("%s.%s (%d)", at, r.Name(), r.Number())
		if r.Cardinality() == protoreflect.Required && (w == nil || w.Cardinality() != protoreflect.Required) {
			c.because(under, "it is required by one only")
		}
		if w != nil {
			c.fields(r, w, under)
		}
	}
	c.oneofs(reader, writer, at)
}

func (c *protoReading) fields(r, w protoreflect.FieldDescriptor, at string) {
	switch {
	case r.IsMap() != w.IsMap():
		c.because(at, "a map in one only")
	case !r.IsList() && w.IsList():
		c.because(at, "it is repeated when it is written, and only the last one would be read")
	}
	switch {
	case !readAs(w.Kind(), r.Kind()):
		c.because(at, "what was written as %s can't be read as %s", w.Kind(), r.Kind())
	case r.Message() != nil:
		c.messages(r.Message(), w.Message(), at)
	case r.Enum() != nil && w.Enum() != nil:
		c.enums(r.Enum(), w.Enum(), at)
	}
}

// enums: a reader whose enumeration is closed (proto2) drops values that it does not know.
func (c *protoReading) enums(r, w protoreflect.EnumDescriptor, at string) {
	if !r.IsClosed() || visited(c.under, r, w) {
		return
	}
	for i := range w.Values().Len() {
		if v := w.Values().Get(i); r.Values().ByNumber(v.Number()) == nil {
			c.because(at, "the value %s (%d) is not known there", v.Name(), v.Number())
		}
	}
}

// oneofs: of the fields that exclude each other when they are read, no two may be written at once.
func (c *protoReading) oneofs(reader, writer protoreflect.MessageDescriptor, at string) {
	for i := range reader.Oneofs().Len() {
		o := reader.Oneofs().Get(i)
		if o.IsSynthetic() {
			continue
		}
		var first protoreflect.FieldDescriptor
		for k := range o.Fields().Len() {
			w := writer.Fields().ByNumber(o.Fields().Get(k).Number())
			switch {
			case w == nil:
			case first == nil:
				first = w
			case first.ContainingOneof() == nil || w.ContainingOneof() == nil || first.ContainingOneof().FullName() != w.ContainingOneof().FullName():
				c.because(at, "%s and %s can be written together, and only one of them is read (oneof %s)", first.Name(), w.Name(), o.Name())
			}
		}
	}
}

// numbersKept says which numbers a new schema gives up without reserving them, or takes although they were: a later one could give
// them another meaning, and be compared only with this one.
func numbersKept(from, to *Schema) []string {
	c := &protoReading{under: map[pair]bool{}}
	c.numbers(from.proto, to.proto, string(to.proto.Name()))
	return c.reasons
}

func (c *protoReading) numbers(from, to protoreflect.MessageDescriptor, at string) {
	if visited(c.under, from, to) {
		return
	}
	for i := range from.Fields().Len() {
		old := from.Fields().Get(i)
		switch now := to.Fields().ByNumber(old.Number()); {
		case now == nil && !to.ReservedRanges().Has(old.Number()):
			c.because(at, "the field %s is gone, and its number is not kept from being used again: reserved %d", old.Name(), old.Number())
		case now == nil:
		case old.Message() != nil && now.Message() != nil:
			c.numbers(old.Message(), now.Message(), at+"."+string(now.Name()))
		case old.Enum() != nil && now.Enum() != nil:
			c.values(old.Enum(), now.Enum(), at+"."+string(now.Name()))
		}
	}
	for i := range to.Fields().Len() {
		if now := to.Fields().Get(i); from.ReservedRanges().Has(now.Number()) {
			c.because(at, "the field %s takes the number %d, which was reserved: it once meant something else", now.Name(), now.Number())
		}
	}
}

func (c *protoReading) values(from, to protoreflect.EnumDescriptor, at string) {
	if visited(c.under, from, to) {
		return
	}
	for i := range from.Values().Len() {
		old := from.Values().Get(i)
		if to.Values().ByNumber(old.Number()) == nil && !to.ReservedRanges().Has(old.Number()) {
			c.because(at, "the value %s is gone, and its number is not kept from being used again: reserved %d", old.Name(), old.Number())
		}
	}
	for i := range to.Values().Len() {
		if now := to.Values().Get(i); from.ReservedRanges().Has(now.Number()) {
			c.because(at, "the value %s takes the number %d, which was reserved: it once meant something else", now.Name(), now.Number())
		}
	}
}
