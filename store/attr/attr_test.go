package attr

import (
	"bytes"
	"math/big"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestNumbers(t *testing.T) {
	for _, c := range []struct {
		in, out string
		err     error
	}{
		{"0", "0", nil}, {"-0", "0", nil}, {"000", "0", nil}, {"0.000", "0", nil}, {"1", "1", nil}, {"-1", "-1", nil}, {"+5", "5", nil}, {"100", "100", nil},
		{"1e2", "100", nil}, {"1E-2", "0.01", nil}, {"12.50", "12.5", nil}, {".5", "0.5", nil}, {"5.", "5", nil}, {"00012.00", "12", nil}, {"0.00120", "0.0012", nil},
		{"1" + strings.Repeat("0", 125), "1" + strings.Repeat("0", 125), nil}, {"9.9e125", "99" + strings.Repeat("0", 124), nil},
		{"1e126", "", ErrOverflow}, {"1e-130", "0." + strings.Repeat("0", 129) + "1", nil}, {"1e-131", "", ErrUnderflow}, {"0e999999999999", "0", nil},
		{"1e999999999999", "", ErrOverflow}, {"1e-999999999999", "", ErrUnderflow},
		{strings.Repeat("9", 38), strings.Repeat("9", 38), nil}, {strings.Repeat("9", 39), "", ErrPrecision},
		{"1" + strings.Repeat("0", 40) + "1", "", ErrPrecision}, {"1234567890" + strings.Repeat("0", 40) + "53", "", ErrPrecision},
		{"1." + strings.Repeat("0", 36) + "1", "1." + strings.Repeat("0", 36) + "1", nil}, {"1." + strings.Repeat("0", 37) + "1", "", ErrPrecision},
		{strings.Repeat("1", 40) + "e200", "", ErrOverflow},
		{"", "", ErrNotNumber}, {"-", "", ErrNotNumber}, {".", "", ErrNotNumber}, {"e5", "", ErrNotNumber}, {"1e", "", ErrNotNumber}, {"1e+", "", ErrNotNumber},
		{"1.2.3", "", ErrNotNumber}, {"0x10", "", ErrNotNumber}, {"NaN", "", ErrNotNumber}, {"Infinity", "", ErrNotNumber}, {" 1", "", ErrNotNumber}, {"1 ", "", ErrNotNumber},
		{"1_000", "", ErrNotNumber}, {"١", "", ErrNotNumber},
	} {
		n, err := ParseNumber(c.in)
		if err != c.err && (c.err == nil || err == nil || err.Error() != c.err.Error()) {
			t.Errorf("%q: error %v, want %v", c.in, err, c.err)
		} else if err == nil && NumberText(n) != c.out {
			t.Errorf("%q is %s, want %s", c.in, NumberText(n), c.out)
		}
	}
}

// decimals draws numbers of all magnitudes, many of them near each other.
func decimals() *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		digits := rapid.StringMatching(`[1-9][0-9]{0,5}|[1-9][0-9]{0,36}|[1-9]0{0,10}[1-9]|0`).Draw(t, "digits")
		exponent := rapid.OneOf(rapid.IntRange(-3, 3), rapid.IntRange(-120, 85)).Draw(t, "exponent")
		sign := rapid.SampledFrom([]string{"", "-"}).Draw(t, "sign")
		return sign + digits + "e" + big.NewInt(int64(exponent)).String()
	})
}

func exact(t *rapid.T, text string) *big.Rat {
	r, ok := new(big.Rat).SetString(text)
	if !ok {
		t.Fatalf("%q", text)
	}
	return r
}

func TestNumbersKeepValueAndOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := decimals().Draw(t, "a"), decimals().Draw(t, "b")
		x, err := ParseNumber(a)
		if err != nil {
			t.Fatalf("%s: %v", a, err)
		}
		y, err := ParseNumber(b)
		if err != nil {
			t.Fatalf("%s: %v", b, err)
		}
		if exact(t, NumberText(x)).Cmp(exact(t, a)) != 0 {
			t.Fatalf("%s became %s", a, NumberText(x))
		}
		if got, want := strings.Compare(x, y), exact(t, a).Cmp(exact(t, b)); got != want {
			t.Fatalf("%s and %s compare as %d, want %d", a, b, got, want)
		}
		if n := encodedNumber([]byte(x + "\x02behind")); n != len(x) {
			t.Fatalf("%s: the encoding of %d bytes is taken for %d", a, len(x), n)
		}
	})
}

func TestSumsAreExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b, minus := decimals().Draw(t, "a"), decimals().Draw(t, "b"), rapid.Bool().Draw(t, "minus")
		x, _ := ParseNumber(a)
		y, _ := ParseNumber(b)
		want := new(big.Rat)
		if minus {
			want.Sub(exact(t, a), exact(t, b))
		} else {
			want.Add(exact(t, a), exact(t, b))
		}
		sum, err := Add(x, y, minus)
		if err != nil {
			if _, err2 := ParseNumber(want.FloatString(140)); err2 == nil {
				t.Fatalf("%s and %s: %v, though %s fits", a, b, err, want.FloatString(140))
			}
			return
		}
		if exact(t, NumberText(sum)).Cmp(want) != 0 {
			t.Fatalf("%s and %s make %s", a, b, NumberText(sum))
		}
	})
}

func TestIntegers(t *testing.T) {
	for _, c := range []struct {
		in string
		n  int64
		ok bool
	}{{"0", 0, true}, {"-17", -17, true}, {"1e3", 1000, true}, {"0.5", 0, false}, {"1e17", 1e17, true}, {"1e18", 0, false}, {"-0.1", 0, false}} {
		e, err := ParseNumber(c.in)
		if err != nil {
			t.Fatal(err)
		}
		if n, ok := Int(e); n != c.n && ok || ok != c.ok {
			t.Errorf("%s: %d, %v", c.in, n, ok)
		}
	}
}

func TestKeysKeepOrderAndAreCutApart(t *testing.T) {
	text := rapid.OneOf(rapid.StringOf(rapid.SampledFrom([]rune{0, 1, 'a', 'b', 0xff})), rapid.String())
	rapid.Check(t, func(t *rapid.T) {
		a, b := Value{Kind: String, Text: text.Draw(t, "a")}, Value{Kind: String, Text: text.Draw(t, "b")}
		x, y := AppendKey(nil, a), AppendKey(nil, b)
		if got, want := bytes.Compare(x, y), strings.Compare(a.Text, b.Text); got != want {
			t.Fatalf("%q and %q compare as %d, want %d", a.Text, b.Text, got, want)
		}
		if got, want := bytes.HasPrefix(x, AppendKeyPrefix(nil, b.Text)), strings.HasPrefix(a.Text, b.Text); got != want {
			t.Fatalf("%q begins with %q: %v, want %v", a.Text, b.Text, got, want)
		}
		n, _ := ParseNumber(decimals().Draw(t, "n"))
		number := Value{Kind: Number, Text: n}
		joined := AppendKey(AppendKey(bytes.Clone(x), number), b)
		v, rest, ok := CutKey(joined, String)
		w, rest, ok2 := CutKey(rest, Number)
		u, rest, ok3 := CutKey(rest, String)
		if !ok || !ok2 || !ok3 || len(rest) != 0 || !Equal(v, a) || !Equal(w, number) || !Equal(u, b) {
			t.Fatalf("%q, %s, %q came back as %q, %q, %q", a.Text, NumberText(n), b.Text, v.Text, w.Text, u.Text)
		}
	})
}

// values draws any value.
func values(depth int) *rapid.Generator[Value] {
	return rapid.Custom(func(t *rapid.T) Value {
		most := BinarySet
		kind := Kind(rapid.IntRange(1, int(most)).Draw(t, "kind"))
		scalar := func(kind Kind) Value {
			if kind == Number {
				n, err := ParseNumber(decimals().Draw(t, "number"))
				if err != nil {
					t.Fatal(err)
				}
				return Value{Kind: Number, Text: n}
			}
			return Value{Kind: kind, Text: rapid.String().Draw(t, "text")}
		}
		switch kind {
		case Bool:
			return Value{Kind: Bool, Bool: rapid.Bool().Draw(t, "bool")}
		case Null:
			return Value{Kind: Null}
		case Map, List:
			n := 0
			if depth > 0 {
				n = rapid.IntRange(0, 3).Draw(t, "members")
			}
			v := Value{Kind: kind}
			if kind == List {
				v.List = []Value{}
			} else {
				v.Map = Item{}
			}
			for range n {
				if m := values(depth-1).Draw(t, "member"); kind == List {
					v.List = append(v.List, m)
				} else {
					v.Map = v.Map.With(rapid.String().Draw(t, "name"), m)
				}
			}
			return v
		case StringSet, NumberSet, BinarySet:
			v := Value{Kind: kind}
			for range rapid.IntRange(1, 4).Draw(t, "members") {
				one, _ := NewSet(kind, []Value{scalar(kind.Element())})
				v = Union(v, one)
			}
			return v
		}
		return scalar(kind)
	})
}

func TestCompactFormComesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		it := Item{}
		for range rapid.IntRange(0, 5).Draw(t, "attributes") {
			it = it.With(rapid.String().Draw(t, "name"), values(3).Draw(t, "value"))
		}
		b := AppendItem(nil, it)
		back, err := DecodeItem(b)
		if err != nil || !EqualItems(it, back) {
			t.Fatalf("%v came back as %v: %v", it, back, err)
		}
		if n, err := EncodedSize(b); err != nil || n != it.Size() {
			t.Fatalf("size %d, of the compact form %d: %v", it.Size(), n, err)
		}
		for i := range b {
			if _, err := DecodeItem(b[:i]); err == nil {
				t.Fatalf("the first %d of %d bytes are taken for an item", i, len(b))
			}
		}
	})
}

func TestSizes(t *testing.T) {
	num := func(s string) Value { n, _ := ParseNumber(s); return Value{Kind: Number, Text: n} }
	for _, c := range []struct {
		v    Value
		size int
	}{
		{Value{Kind: String, Text: "héllo"}, 6}, {num("0"), 1}, {num("7"), 2}, {num("1234"), 3}, {num("-1234"), 4}, {Value{Kind: Bool}, 1}, {Value{Kind: Null}, 1},
		{Value{Kind: List, List: []Value{{Kind: Null}, {Kind: String, Text: "ab"}}}, 3 + 2 + 3},
		{Value{Kind: Map, Map: Item{{"k", Value{Kind: Null}}}}, 3 + 1 + 2},
		{Value{Kind: StringSet, List: []Value{{Kind: String, Text: "a"}, {Kind: String, Text: "bc"}}}, 3},
	} {
		if n := c.v.Size(); n != c.size {
			t.Errorf("%v has size %d, want %d", c.v, n, c.size)
		}
	}
}

// FuzzDecodeItem wants no input to panic, and what is decoded to be encoded alike where it is in order.
func FuzzDecodeItem(f *testing.F) {
	f.Add(AppendItem(nil, Item{{"a", Value{Kind: Number, Text: FromInt(5)}}, {"b", Value{Kind: List, List: []Value{{Kind: Null}}}}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		it, err := DecodeItem(b)
		if err == nil {
			it.Size()
			_ = AppendItem(nil, it)
		}
		EncodedSize(b)
	})
}
