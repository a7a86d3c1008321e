package wire

import (
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/banyanhq/banyan/store/attr"
)

// maxNesting of lists and maps in an attribute value.
const maxNesting = 32

// ValueError says what is wrong with an attribute value, in DynamoDB's words.
type ValueError struct{ Message string }

func (e *ValueError) Error() string { return e.Message }

func invalidf(format string, a ...any) error { return &ValueError{fmt.Sprintf(format, a...)} }

// How many attributes room is made for at first.
const (
	usualRoom = 8
	keyRoom   = 2
)

// Item reads an object of attribute values.
func (r *Reader) Item() (attr.Item, error) { return r.item(0, usualRoom) }

// Key reads one that is expected to have a key's attributes only.
func (r *Reader) Key() (attr.Item, error) { return r.item(0, keyRoom) }

// Value reads one attribute value.
func (r *Reader) Value() (attr.Value, error) { return r.value(0) }

func (r *Reader) item(depth, room int) (attr.Item, error) {
	it := make(attr.Item, 0, room)
	err := r.Object("Unexpected field type", func(name string) error {
		v, err := r.value(depth)
		if err != nil {
			return err
		}
		it = append(it, attr.Field{Name: name, Value: v})
		return nil
	})
	return it.Sort(), err
}

func (r *Reader) value(depth int) (v attr.Value, err error) {
	if depth > maxNesting {
		return v, invalidf("Nesting Levels have exceeded supported limits: Attributes with nested levels (lists or maps) exceed %d", maxNesting)
	}
	if r.Null() {
		return v, &ValueError{"Supplied AttributeValue is empty, must contain exactly one of the supported datatypes"}
	}
	kinds := 0
	err = r.Object("Unexpected value type in payload", func(name string) error {
		kind := attr.KindOf(name)
		if kind == attr.None {
			return r.Skip() // as for any field that is not known
		}
		if r.Null() {
			return nil
		}
		kinds++
		v, err = r.kind(kind, depth)
		return err
	})
	switch {
	case err != nil:
		return attr.Value{}, err
	case kinds == 0:
		return v, &ValueError{"Supplied AttributeValue is empty, must contain exactly one of the supported datatypes"}
	case kinds > 1:
		return v, &ValueError{"Supplied AttributeValue has more than one datatypes set, must contain exactly one of the supported datatypes"}
	}
	return v, nil
}

// kind reads what follows the name of a kind.
func (r *Reader) kind(kind attr.Kind, depth int) (v attr.Value, err error) {
	v.Kind = kind
	switch kind {
	case attr.String:
		v.Text, err = r.String()
	case attr.Number:
		v.Text, err = r.decimal()
	case attr.Binary:
		v.Text, err = r.blob()
	case attr.Bool:
		v.Bool, err = r.Bool()
	case attr.Null:
		var yes bool
		if yes, err = r.Bool(); err == nil && !yes {
			err = invalidf("One or more parameter values were invalid: Null attribute value types must have the value of true")
		}
	case attr.Map:
		v.Map, err = r.item(depth+1, usualRoom)
	case attr.List:
		v.List = []attr.Value{}
		err = r.Array(func(int) error {
			m, err := r.value(depth + 1)
			v.List = append(v.List, m)
			return err
		})
	default:
		return r.set(kind)
	}
	return v, err
}

func (r *Reader) decimal() (string, error) {
	text, err := r.String()
	if err != nil {
		return "", err
	}
	n, err := attr.ParseNumber(text)
	if err == attr.ErrNotNumber && text != "" {
		return "", invalidf("%s: %s", err, text)
	}
	if err != nil {
		return "", &ValueError{err.Error()}
	}
	return n, nil
}

func (r *Reader) blob() (string, error) {
	if r.peek() != '"' {
		return "", r.scalarMismatch("Byte buffer")
	}
	text, err := r.text()
	if err != nil {
		return "", err
	}
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil || strings.ContainsAny(text, "\r\n") { // which Go's decoder skips
		return "", &SyntaxError{"Invalid base64 data"}
	}
	return alias(b), nil
}

func (r *Reader) set(kind attr.Kind) (attr.Value, error) {
	var members []attr.Value
	element := kind.Element()
	err := r.Array(func(int) error {
		var text string
		var err error
		switch element {
		case attr.String:
			text, err = r.String()
		case attr.Number:
			text, err = r.decimal()
		default:
			text, err = r.blob()
		}
		members = append(members, attr.Value{Kind: element, Text: text})
		return err
	})
	if err != nil {
		return attr.Value{}, err
	}
	if len(members) == 0 {
		return attr.Value{}, invalidf("One or more parameter values were invalid: An %s set  may not be empty", setWord(kind))
	}
	asGiven := append([]attr.Value(nil), members...)
	v, ok := attr.NewSet(kind, members)
	switch {
	case ok:
		return v, nil
	case kind == attr.NumberSet:
		return v, &ValueError{"Input collection contains duplicates"}
	case kind == attr.BinarySet:
		return v, invalidf("One or more parameter values were invalid: Input collection %sof type BS contains duplicates.", collection(asGiven))
	}
	return v, invalidf("One or more parameter values were invalid: Input collection %s contains duplicates.", collection(asGiven))
}

func setWord(kind attr.Kind) string {
	return map[attr.Kind]string{attr.StringSet: "string", attr.NumberSet: "number", attr.BinarySet: "binary"}[kind]
}

func collection(members []attr.Value) string {
	texts := make([]string, len(members))
	for i, m := range members {
		if texts[i] = m.Text; m.Kind == attr.Binary {
			texts[i] = base64.StdEncoding.EncodeToString([]byte(m.Text))
		}
	}
	return "[" + strings.Join(texts, ", ") + "]"
}
