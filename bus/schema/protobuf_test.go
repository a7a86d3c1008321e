package schema

import (
	"errors"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

const orderProto = `syntax = "proto3";
package shop;
import "google/protobuf/timestamp.proto";
message Order {
  string id = 1;
  int32 count = 2;
  repeated Line lines = 3;
  State state = 4;
  google.protobuf.Timestamp at = 5;
  map<string, Line> by_name = 6;
  reserved 9;
}
message Line { string article = 1; int64 cents = 2; Order parent = 3; }
enum State { UNKNOWN = 0; PAID = 1; }
`

// edited is the order's schema with some text replaced.
func edited(pairs ...string) string { return strings.NewReplacer(pairs...).Replace(orderProto) }

func TestProtobufEventsAreChecked(t *testing.T) {
	s := parse(t, orderProto)
	if s.Format() != FormatProtobuf {
		t.Fatal(s.Format())
	}
	text := func(number protowire.Number, v string) []byte {
		return protowire.AppendString(protowire.AppendTag(nil, number, protowire.BytesType), v)
	}
	for event, want := range map[string]string{
		"":                                       "",
		string(text(1, "order-7")):               "",
		string(text(3, string(text(1, "shoe")))): "",
		string(text(3, string(text(7, "shoe")))): "at Order.lines: the schema has no field with the number 7",
		string(text(200, "x")):                   "at Order: the schema has no field with the number 200",
		string(text(1, "\xff")):                  "UTF-8",
		`{"id": "order-7"}`:                      "",
		"\x0a\xff":                               "no shop.Order",
	} {
		err := s.Check([]byte(event))
		if event == `{"id": "order-7"}` {
			if err == nil {
				t.Error("JSON was taken")
			}
			continue
		}
		if (err == nil) != (want == "") || err != nil && (!errors.Is(err, ErrMismatch) || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %q", event, err, want)
		}
	}
}

func TestProtobufThatIsRefused(t *testing.T) {
	for text, want := range map[string]string{
		`syntax = "proto3"; message A { string a = 1; int32 b = 1; }`: "1",
		`syntax = "proto3"; enum A { B = 0; }`:                        "no message",
		`syntax = "proto3"; import "/etc/passwd"; message A {}`:       "stand by itself",
		`message`:  "syntax error",
		"\x00\x01": "",
		`syntax = "proto3"; message A { B b = 1; }`: "B",
	} {
		if _, err := Parse([]byte(text)); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

// Each change is held against both directions.
func TestProtobufCompatibility(t *testing.T) {
	for name, c := range map[string]struct {
		next              string
		backward, forward string // part of the reason; empty: compatible
	}{
		"nothing":                {orderProto, "", ""},
		"a new field":            {edited("reserved 9;", "reserved 9; string note = 7;"), "", ""},
		"a field renamed":        {edited("string id = 1", "string number = 1"), "", ""},
		"a field removed":        {edited("int32 count = 2;", ""), "reserved 2", "reserved 2"},
		"removed and reserved":   {edited("int32 count = 2;", "", "reserved 9;", "reserved 2, 9;"), "", ""},
		"a reserved number":      {edited("reserved 9;", "string note = 9;"), "takes the number 9", "takes the number 9"},
		"wider":                  {edited("int32 count", "int64 count"), "", "int64 can't be read as int32"},
		"narrower":               {edited("int64 cents", "int32 cents"), "int64 can't be read as int32", ""},
		"another sign":           {edited("int32 count", "sint32 count"), "can't be read as sint32", "can't be read as int32"},
		"another type":           {edited("int32 count", "string count"), "can't be read", "can't be read"},
		"text to bytes":          {edited("string id", "bytes id"), "", "bytes can't be read as string"},
		"one to many":            {edited("int32 count", "repeated int32 count"), "", "only the last one"},
		"deep inside":            {edited("int64 cents", "double cents"), "cents (2)", "cents (2)"},
		"in a map":               {edited("map<string, Line>", "map<int32, Line>"), "key (1)", "key (1)"},
		"no map any more":        {edited("map<string, Line> by_name", "repeated Line by_name"), "a map in one only", "a map in one only"},
		"a value more":           {edited("PAID = 1;", "PAID = 1; SENT = 2;"), "", ""},
		"a value removed":        {edited("PAID = 1;", ""), "the value PAID is gone", "the value PAID is gone"},
		"a value reserved":       {edited("PAID = 1;", "reserved 1;"), "", ""},
		"an enumeration as int":  {edited("State state", "int32 state"), "", "can't be read as enum"},
		"two that exclude":       {edited("string id = 1;\n  int32 count = 2;", "oneof either { string id = 1; int32 count = 2; }"), "written together", ""},
		"one in a oneof":         {edited("string id = 1;", "oneof either { string id = 1; string other = 7; }"), "", ""},
		"a JSON Schema instead":  {`{"type": "object"}`, "format", "format"},
		"the messages in a turn": {edited("message Order", "message Other { string id = 1; }\nmessage Order"), "reserved 2", "reserved 2"},
	} {
		from, to := parse(t, orderProto), parse(t, c.next)
		for level, want := range map[Level]string{Backward: c.backward, Forward: c.forward} {
			reasons := strings.Join(Breaks(level, from, to), "; ")
			if (reasons == "") != (want == "") || !strings.Contains(reasons, want) {
				t.Errorf("%s, %s: %q, want %q", name, level, reasons, want)
			}
		}
		if full := Breaks(Full, from, to); (len(full) == 0) != (c.backward == "" && c.forward == "") {
			t.Errorf("%s, full: %q", name, full)
		}
		if none := Breaks(None, from, to); len(none) > 0 {
			t.Errorf("%s, none: %q", name, none)
		}
	}
}

func TestRequiredAndClosedProtobuf(t *testing.T) {
	two := `syntax = "proto2"; message A { required string id = 1; optional E e = 2; } enum E { X = 0; Y = 1; }`
	for name, c := range map[string]struct{ next, backward, forward string }{
		"not required": {strings.Replace(two, "required", "optional", 1), "", "required by one"},
		"required":     {strings.Replace(two, "optional E", "required E", 1), "required by one", ""},
		"a new value":  {strings.Replace(two, "Y = 1;", "Y = 1; Z = 2;", 1), "", "the value Z (2) is not known"},
	} {
		from, to := parse(t, two), parse(t, c.next)
		for level, want := range map[Level]string{Backward: c.backward, Forward: c.forward} {
			if reasons := strings.Join(Breaks(level, from, to), "; "); (reasons == "") != (want == "") || !strings.Contains(reasons, want) {
				t.Errorf("%s, %s: %q, want %q", name, level, reasons, want)
			}
		}
	}
}

func TestProtobufIsFoundAgain(t *testing.T) {
	dir := t.TempDir()
	r, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	for want, text := range []string{orderProto, edited("reserved 9;", "reserved 9; string note = 7;")} {
		if n, made, err := r.Register("orders", Full, parse(t, text), time.Now()); err != nil || !made || n != want+1 {
			t.Fatal(n, made, err)
		}
	}
	again, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	s, n := again.Latest("orders")
	if n != 2 || s.Format() != FormatProtobuf {
		t.Fatal(n)
	}
	if _, made, err := again.Register("orders", Full, s, time.Now()); made || err != nil {
		t.Error(made, err)
	}
	if _, _, err := again.Register("orders", Full, parse(t, edited("string id", "int32 id")), time.Now()); !errors.Is(err, ErrIncompatible) {
		t.Error(err)
	}
}

func FuzzProtobufSchema(f *testing.F) {
	f.Add(orderProto, "\x0a\x01a")
	f.Fuzz(func(t *testing.T, text, event string) {
		s, err := parseProto([]byte(text))
		if err != nil {
			return
		}
		_ = s.Check([]byte(event))
		if why := Breaks(Full, s, s); len(why) > 0 && !strings.Contains(strings.Join(why, " "), "required") {
			t.Errorf("not compatible with itself: %q\n%s", why, text)
		}
	})
}
