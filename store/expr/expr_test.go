package expr_test

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/banyanhq/banyan/store/attr"
	"github.com/banyanhq/banyan/store/expr"
	"github.com/banyanhq/banyan/store/wire"
)

// item reads the JSON of an item, in which single quotes stand for double ones.
func item(t testing.TB, text string) attr.Item {
	t.Helper()
	it, err := wire.NewReader([]byte(strings.ReplaceAll(text, "'", `"`))).Item()
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return it
}

func text(it attr.Item) string { return strings.ReplaceAll(string(wire.AppendItem(nil, it)), `"`, "'") }

var names = attr.Item{{Name: "#s", Value: attr.Value{Kind: attr.String, Text: "state"}}, {Name: "#dot", Value: attr.Value{Kind: attr.String, Text: "a.b"}}}

const document = `{'a':{'S':'abc'},'n':{'N':'5'},'b':{'B':'AQI='},'l':{'L':[{'N':'1'},{'S':'x'},{'M':{'k':{'S':'deep'}}}]},'m':{'M':{'k':{'N':'7'},'l':{'L':[{'N':'3'}]}}},
	'ss':{'SS':['p','q']},'ns':{'NS':['1','2']},'yes':{'BOOL':true},'nil':{'NULL':true},'state':{'S':'open'},'a.b':{'S':'dotted'}}`

const given = `{':abc':{'S':'abc'},':ab':{'S':'ab'},':five':{'N':'5.0'},':one':{'N':'1'},':nine':{'N':'9'},':yes':{'BOOL':true},':nil':{'NULL':true},':p':{'S':'p'},':s':{'S':'S'},
	':open':{'S':'open'},':x':{'S':'x'},':deep':{'S':'deep'},':l':{'L':[{'N':'4'}]},':ss':{'SS':['q','r']},':bin':{'B':'AQ=='},':dotted':{'S':'dotted'},':N':{'S':'N'},
	':zero':{'N':'0'},':pq':{'SS':['p','q']},':L':{'S':'L'},':three':{'N':'3'}}`

func condition(t testing.TB, source string) (*expr.Node, error) {
	n, err := expr.ParseCondition(source)
	if err != nil {
		return nil, err
	}
	b, err := expr.NewBinder(names, item(t, given))
	if err != nil {
		return nil, err
	}
	return b.Condition(expr.Condition, n)
}

func TestConditions(t *testing.T) {
	it := item(t, document)
	for source, want := range map[string]bool{
		"a = :abc": true, "a <> :abc": false, "a = :ab": false, "n = :five": true, "n < :nine": true, "n <= :five": true, "n > :five": false, "n >= :five": true,
		"a < :five": false, "a <> :five": true, "gone = :abc": false, "gone <> :abc": true, "gone < :abc": false, "NOT gone = :abc": true,
		"a BETWEEN :ab AND :abc": true, "n between :one and :nine": true, "n NOT IN (:one)": false, "NOT n IN (:one)": true, "n IN (:one, :five)": true,
		"attribute_exists(a)": true, "attribute_exists(m.k)": true, "attribute_exists(m.zz)": false, "attribute_not_exists(l[3])": true, "attribute_exists(l[2].k)": true,
		"attribute_type(a, :s)": true, "attribute_type(n, :s)": false, "begins_with(a, :ab)": true, "begins_with(n, :ab)": false, "begins_with(b, :bin)": true,
		"contains(a, :ab)": true, "contains(ss, :p)": true, "contains(l, :x)": true, "contains(ns, :five)": false, "contains(b, :bin)": true, "contains(ns, :one)": true,
		"size(a) = :three": true, "size(l) < :five": true, "size(ss) > :one": true, "size(n) = :one": false, "size(gone) = :zero": false, "size(m) >= :one": true,
		"l[2].k = :deep": true, "m.l[0] = :three": true, "#s = :open": true, "#dot = :dotted": true, "ss = :pq": true, "yes = :yes": true, "nil = :nil": true,
		"a = :ab OR n = :five AND yes = :yes": true, "(a = :ab OR n = :five) AND a = :ab": false, "NOT (a = :ab)": true, "not not a = :abc": true,
		"a = :ab OR a = :abc OR a = :ab": true, "(a) = (:abc)": true, "(size(a)) = :three": true, "(a = :abc)": true, ":five = n": true, "n = m.k": false,
		"attribute_exists(a)AND(n=:five)": true,
	} {
		n, err := condition(t, source)
		if source == "n NOT IN (:one)" {
			if err == nil {
				t.Errorf("%s is taken", source)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", source, err)
			continue
		}
		if got := n.True(it); got != want {
			t.Errorf("%s is %v", source, got)
		}
		back := expr.ReadNode(attr.NewReader(expr.AppendNode(nil, n)))
		if got := back.True(it); got != want {
			t.Errorf("%s, encoded and decoded, is %v", source, got)
		}
	}
}

func TestConditionErrors(t *testing.T) {
	for source, want := range map[string]string{
		"":                              "The expression can not be empty;",
		"a":                             `Syntax error; token: "<EOF>", near: "a"`,
		"a = ":                          `Syntax error; token: "<EOF>", near: "a ="`,
		"a = :abc )":                    `Syntax error; token: ")", near: ":abc )"`,
		"a == :abc":                     `Syntax error; token: "=", near: "== :abc"`,
		"a ! :abc":                      `Syntax error; token: "!", near: "a !"`,
		"status = :abc":                 "Attribute name is a reserved keyword; reserved keyword: status",
		"a = :nope":                     "Invalid ConditionExpression: An expression attribute value used in expression is not defined; attribute value: :nope",
		"#no = :abc":                    "Invalid ConditionExpression: An expression attribute name used in the document path is not defined; attribute name: #no",
		"nofun(a)":                      "Invalid function name; function: nofun",
		"Size(a) = :one":                "Invalid function name; function: Size",
		"begins_with(a)":                "Incorrect number of operands for operator or function; operator or function: begins_with, number of operands: 1",
		"attribute_exists(:abc)":        "Operator or function requires a document path; operator or function: attribute_exists",
		"begins_with(a, :five)":         "Invalid ConditionExpression: Incorrect operand type for operator or function; operator or function: begins_with, operand type: N",
		"a < :yes":                      "Invalid ConditionExpression: Incorrect operand type for operator or function; operator or function: <, operand type: BOOL",
		"a = a":                         "Invalid ConditionExpression: The first operand must be distinct from the remaining operands for this operator or function; operator: =, first operand: [a]",
		"n between :nine and :one":      "Invalid ConditionExpression: The BETWEEN operator requires upper bound to be greater than or equal to lower bound; lower bound operand: AttributeValue: {N:9}, upper bound operand: AttributeValue: {N:1}",
		"n between :abc and :one":       "Invalid ConditionExpression: The BETWEEN operator requires same data type for lower and upper bounds; lower bound operand: AttributeValue: {S:abc}, upper bound operand: AttributeValue: {N:1}",
		"attribute_type(a, :abc)":       "Invalid ConditionExpression: Invalid attribute type name found; type: abc, valid types: {B,NULL,SS,BOOL,L,BS,N,NS,S,M}",
		"if_not_exists(a, :abc) = :abc": "The function is not allowed in a condition expression; function: if_not_exists",
		"size(a)":                       "The function is not allowed to be used this way in an expression; function: size",
		"contains(a, :abc) = :yes":      "Invalid ConditionExpression: The function is not allowed to be used this way in an expression; function: contains",
		"((a = :abc))":                  "The expression has redundant parentheses;",
		"l[99999999999] = :one":         "List index is not within the allowable range; index: [99999999999]",
		"l[-1] = :one":                  `Syntax error; token: "-", near: "[-1"`,
		"é = :one":                      `Syntax error; token: "é", near: "é"`,
		strings.Repeat("(", 101) + "a = :abc" + strings.Repeat(")", 101): "The expression is nested too deeply; maximum depth: 100",
		strings.Repeat("a = :abc OR ", 300) + "a = :abc":                 "The expression contains too many operators; maximum number of operators: 300",
		strings.Repeat("x", 4097):                                        "Expression size has exceeded the maximum allowed size; expression size: 4097",
		"a" + strings.Repeat(".a", 32) + " = :abc":                       "The document path has too many nesting elements; nesting levels: 33",
	} {
		_, err := condition(t, source)
		if err == nil || err.Error() != want {
			t.Errorf("%.60s: got %v, want %s", source, err, want)
		}
	}
}

func update(t testing.TB, source string) (*expr.Update, error) {
	u, err := expr.ParseUpdate(source)
	if err != nil {
		return nil, err
	}
	b, err := expr.NewBinder(names, item(t, given))
	if err != nil {
		t.Fatal(err)
	}
	return b.Update(u)
}

func TestUpdates(t *testing.T) {
	const before = `{'a':{'S':'abc'},'l':{'L':[{'N':'1'},{'N':'2'},{'N':'3'}]},'m':{'M':{'k':{'N':'7'}}},'n':{'N':'5'},'ss':{'SS':['p','q']}}`
	for source, want := range map[string]string{
		"SET a = :x":                                                         `{'a':{'S':'x'},'l':{'L':[{'N':'1'},{'N':'2'},{'N':'3'}]},'m':{'M':{'k':{'N':'7'}}},'n':{'N':'5'},'ss':{'SS':['p','q']}}`,
		"set n = n + :one REMOVE a, l, m, ss":                                `{'n':{'N':'6'}}`,
		"SET n = :nine - n REMOVE a, l, m, ss":                               `{'n':{'N':'4'}}`,
		"SET n = a, a = n REMOVE l, m, ss":                                   `{'a':{'N':'5'},'n':{'S':'abc'}}`,
		"REMOVE l[0], l[2], a, m, n, ss":                                     `{'l':{'L':[{'N':'2'}]}}`,
		"SET l[9] = :nine, l[7] = :five, l[1] = :x REMOVE a, m, n, ss":       `{'l':{'L':[{'N':'1'},{'S':'x'},{'N':'3'},{'N':'5'},{'N':'9'}]}}`,
		"SET l = list_append(l, :l) REMOVE a, m, n, ss":                      `{'l':{'L':[{'N':'1'},{'N':'2'},{'N':'3'},{'N':'4'}]}}`,
		"SET l = list_append(if_not_exists(nope, :l), l) REMOVE a, m, n, ss": `{'l':{'L':[{'N':'4'},{'N':'1'},{'N':'2'},{'N':'3'}]}}`,
		"SET x = if_not_exists(x, :zero) + :one REMOVE a, l, m, n, ss":       `{'x':{'N':'1'}}`,
		"SET m.j = :x, m.k = m.k + :one REMOVE a, l, n, ss":                  `{'m':{'M':{'j':{'S':'x'},'k':{'N':'8'}}}}`,
		"ADD n :one, ss :ss, fresh :nine, more :ss REMOVE a, l, m":           `{'fresh':{'N':'9'},'more':{'SS':['q','r']},'n':{'N':'6'},'ss':{'SS':['p','q','r']}}`,
		"DELETE ss :ss REMOVE a, l, m, n":                                    `{'ss':{'SS':['p']}}`,
		"DELETE ss :pq, zz :pq REMOVE a, l, m, n":                            `{}`,
		"REMOVE zz, m.zz, l[17] SET a = a":                                   before,
	} {
		u, err := update(t, source)
		if err != nil {
			t.Errorf("%s: %v", source, err)
			continue
		}
		it := item(t, before)
		got, err := u.Apply(it)
		if err != nil || text(got) != want {
			t.Errorf("%s makes %s (%v), want %s", source, text(got), err, want)
		}
		if text(it) != before {
			t.Errorf("%s changed what it was applied to: %s", source, text(it))
		}
		if got, err := expr.ReadUpdate(attr.NewReader(expr.AppendUpdate(nil, u))).Apply(it); err != nil || text(got) != want {
			t.Errorf("%s, encoded and decoded, makes %s (%v)", source, text(got), err)
		}
	}
}

func TestUpdateErrors(t *testing.T) {
	const before = `{'a':{'S':'abc'},'l':{'L':[{'N':'1'}]},'n':{'N':'5'},'ss':{'SS':['p','q']},'big':{'N':'1e100'}}`
	for source, want := range map[string]string{
		"SET": `Syntax error; token: "<EOF>", near: "SET"`, "FOO a": `Syntax error; token: "FOO", near: "FOO a"`,
		"SET a = :x SET n = :x":   `The "SET" section can only be used once in an update expression;`,
		"SET a = :x, a = :abc":    "Invalid UpdateExpression: Two document paths overlap with each other; must remove or rewrite one of these paths; path one: [a], path two: [a]",
		"SET m.k = :x REMOVE m":   "Invalid UpdateExpression: Two document paths overlap with each other; must remove or rewrite one of these paths; path one: [m, k], path two: [m]",
		"SET l[0] = :x, l.k = :x": "Invalid UpdateExpression: Two document paths conflict with each other; must remove or rewrite one of these paths; path one: [l, [0]], path two: [l, k]",
		"ADD a :abc":              "Invalid UpdateExpression: Incorrect operand type for operator or function; operator: ADD, operand type: STRING, typeSet: ALLOWED_FOR_ADD_OPERAND",
		"DELETE ss :one":          "Invalid UpdateExpression: Incorrect operand type for operator or function; operator: DELETE, operand type: NUMBER, typeSet: ALLOWED_FOR_DELETE_OPERAND",
		"SET a = :x + :one":       "Invalid UpdateExpression: Incorrect operand type for operator or function; operator or function: +, operand type: S",
		"SET a = size(a)":         "The function is not allowed in an update expression; function: size",
		"SET a = zz":              "The provided expression refers to an attribute that does not exist in the item", "SET a = a + :one": "An operand in the update expression has an incorrect data type",
		"SET zz.k = :x": "The document path provided in the update expression is invalid for update", "REMOVE zz.k": "The document path provided in the update expression is invalid for update",
		"SET a[0] = :x": "The document path provided in the update expression is invalid for update", "ADD a :one": "An operand in the update expression has an incorrect data type",
		"DELETE a :ss": "An operand in the update expression has an incorrect data type", "SET n = list_append(n, :l)": "An operand in the update expression has an incorrect data type",
		"SET big = big + :one": "Attempting to store more than 38 significant digits in a Number",
		"SET n = n + n + n":    `Syntax error; token: "+", near: "n + n"`,
	} {
		u, err := update(t, source)
		if err == nil {
			_, err = u.Apply(item(t, before))
		}
		if err == nil || err.Error() != want {
			t.Errorf("%s: got %v, want %s", source, err, want)
		}
	}
}

func TestProjections(t *testing.T) {
	it := item(t, document)
	for source, want := range map[string]string{
		"a": `{'a':{'S':'abc'}}`, "a, n": `{'a':{'S':'abc'},'n':{'N':'5'}}`, "m.k": `{'m':{'M':{'k':{'N':'7'}}}}`, "l[2].k, l[0]": `{'l':{'L':[{'N':'1'},{'M':{'k':{'S':'deep'}}}]}}`,
		"zz": `{}`, "m.zz": `{}`, "#dot, #s": `{'a.b':{'S':'dotted'},'state':{'S':'open'}}`, "m.l[0], m.k": `{'m':{'M':{'k':{'N':'7'},'l':{'L':[{'N':'3'}]}}}}`,
	} {
		paths, err := expr.ParseProjection(source)
		if err != nil {
			t.Errorf("%s: %v", source, err)
			continue
		}
		b, _ := expr.NewBinder(names, nil)
		if paths, err = b.Paths(expr.Projection, paths); err != nil {
			t.Errorf("%s: %v", source, err)
			continue
		}
		if got := text(expr.Project(it, paths)); got != want {
			t.Errorf("%s leaves %s, want %s", source, got, want)
		}
	}
	paths, _ := expr.ParseProjection("m, m.k")
	b, _ := expr.NewBinder(nil, nil)
	if _, err := b.Paths(expr.Projection, paths); err == nil || !strings.HasPrefix(err.Error(), "Invalid ProjectionExpression: Two document paths overlap") {
		t.Errorf("m, m.k: %v", err)
	}
}

func TestUnusedPlaceholders(t *testing.T) {
	b, err := expr.NewBinder(names, item(t, `{':x':{'N':'1'},':y':{'N':'1'}}`))
	if err != nil {
		t.Fatal(err)
	}
	n, _ := expr.ParseCondition("#s = :x AND #dot = :x")
	if _, err := b.Condition(expr.Condition, n); err != nil {
		t.Fatal(err)
	}
	if err := b.Unused(); err == nil || err.Error() != "Value provided in ExpressionAttributeValues unused in expressions: keys: {:y}" {
		t.Error(err)
	}
	for _, bad := range []string{"x", ":", ":a-b", "#x"} {
		if _, err := expr.NewBinder(nil, attr.Item{{Name: bad}}); err == nil || err.Error() != `ExpressionAttributeValues contains invalid key: Syntax error; key: "`+bad+`"` {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestKeyTests(t *testing.T) {
	for source, want := range map[string]string{
		"a = :abc": "", "a = :abc AND n > :one": "", ":abc = a AND n BETWEEN :one AND :nine": "", "(a = :abc) AND (begins_with(n, :ab))": "",
		"a = :abc OR n = :one": "Invalid KeyConditionExpression: Invalid operator used in KeyConditionExpression: OR",
		"a <> :abc":            "Invalid KeyConditionExpression: Invalid operator used in KeyConditionExpression: <>",
		"a = :abc AND a = :ab": "Invalid KeyConditionExpression: KeyConditionExpressions must only contain one condition per key",
		"m.k = :abc":           "Invalid KeyConditionExpression: KeyConditionExpressions cannot have conditions on nested attributes",
		"size(a) = :one":       "Invalid KeyConditionExpression: KeyConditionExpressions cannot contain nested operations",
		"a = n":                "Invalid KeyConditionExpression: Invalid condition in KeyConditionExpression: Multiple attribute names used in one condition",
	} {
		n, err := condition(t, source)
		if err != nil {
			t.Errorf("%s: %v", source, err)
			continue
		}
		tests, err := expr.KeyTests(n)
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: %v, %s", source, tests, got)
		}
	}
}

func TestLegacyMeansTheSame(t *testing.T) {
	it := item(t, document)
	value := func(name string) attr.Value { return item(t, given).Get(name) }
	for _, c := range []struct {
		name, op string
		values   []attr.Value
		want     bool
	}{
		{"a", "EQ", []attr.Value{value(":abc")}, true}, {"a", "NE", []attr.Value{value(":abc")}, false}, {"zz", "NE", []attr.Value{value(":abc")}, true},
		{"zz", "NULL", nil, true}, {"a", "NOT_NULL", nil, true}, {"n", "BETWEEN", []attr.Value{value(":one"), value(":nine")}, true},
		{"n", "IN", []attr.Value{value(":one"), value(":five")}, true}, {"a", "BEGINS_WITH", []attr.Value{value(":ab")}, true},
		{"ss", "CONTAINS", []attr.Value{value(":p")}, true}, {"ss", "NOT_CONTAINS", []attr.Value{value(":p")}, false}, {"a.b", "EQ", []attr.Value{value(":dotted")}, true},
	} {
		n, err := expr.Legacy(c.name, c.op, c.values)
		if err != nil || n.True(it) != c.want {
			t.Errorf("%s %s: %v", c.name, c.op, err)
		}
	}
	if _, err := expr.Legacy("a", "EQ", nil); err == nil || err.Error() != "One or more parameter values were invalid: Invalid number of argument(s) for the EQ ComparisonOperator" {
		t.Error(err)
	}
}

func TestReservedWords(t *testing.T) {
	for word, want := range map[string]bool{"name": true, "Status": true, "ZONE": true, "abort": true, "LOCALTIMESTAMP": true, "names_": false, "customer": false, "": false} {
		if expr.Reserved(word) != want {
			t.Errorf("%s: %v", word, !want)
		}
	}
}

// TestNotIsTheOpposite builds random conditions and wants NOT to turn each around.
func TestNotIsTheOpposite(t *testing.T) {
	it := item(t, document)
	leaves := []string{"a = :abc", "n < :one", "gone = :x", "gone <> :x", "contains(ss, :p)", "size(l) >= :three", "attribute_exists(m.k)", "n BETWEEN :one AND :nine", "#s IN (:x, :open)"}
	var build func(t *rapid.T, depth int) string
	build = func(t *rapid.T, depth int) string {
		if depth == 0 || rapid.IntRange(0, 2).Draw(t, "leaf") == 0 {
			return rapid.SampledFrom(leaves).Draw(t, "leaf")
		}
		op := rapid.SampledFrom([]string{" AND ", " OR "}).Draw(t, "op")
		return "NOT (" + build(t, depth-1) + op + build(t, depth-1) + ")"
	}
	rapid.Check(t, func(rt *rapid.T) {
		source := build(rt, 4)
		n, err := condition(t, source)
		if err != nil {
			rt.Fatalf("%s: %v", source, err)
		}
		opposite, err := condition(t, "NOT ("+source+" OR a = :ab)") // a is not 'ab', so that this changes nothing
		if err != nil {
			rt.Fatalf("%s: %v", source, err)
		}
		if n.True(it) == opposite.True(it) {
			rt.Fatalf("%s and its opposite are both %v", source, n.True(it))
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"a = :abc AND (NOT size(l[0].k) > :one OR contains(#s, :x))", "SET a = if_not_exists(b, :x) + :one, l[3] = :l REMOVE z ADD n :one DELETE ss :ss", "a.b[0], #s"} {
		f.Add(s)
	}
	it := item(f, document)
	f.Fuzz(func(t *testing.T, source string) {
		if n, err := condition(t, source); err == nil {
			want := n.True(it)
			if back := expr.ReadNode(attr.NewReader(expr.AppendNode(nil, n))); back.True(it) != want {
				t.Errorf("%q: encoded and decoded it means something else", source)
			}
			expr.KeyTests(n)
		}
		if u, err := update(t, source); err == nil {
			u.Apply(it)
		}
		if paths, err := expr.ParseProjection(source); err == nil {
			expr.Project(it, paths)
		}
	})
}
