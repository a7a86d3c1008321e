package dynamo_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/banyanhq/banyan/store/dynamo"
)

// The model is a map of items, each a map of attributes to their values on the wire. Indexes are computed from it by the rules of the
// documentation, without any of the code under test.

type modelItem map[string]map[string]any

const modelTable = `{"TableName":"model","BillingMode":"PAY_PER_REQUEST",
	"KeySchema":[{"AttributeName":"p","KeyType":"HASH"},{"AttributeName":"r","KeyType":"RANGE"}],
	"AttributeDefinitions":[{"AttributeName":"p","AttributeType":"S"},{"AttributeName":"r","AttributeType":"N"},{"AttributeName":"g","AttributeType":"S"},{"AttributeName":"h","AttributeType":"N"}],
	"LocalSecondaryIndexes":[{"IndexName":"local","KeySchema":[{"AttributeName":"p","KeyType":"HASH"},{"AttributeName":"h","KeyType":"RANGE"}],"Projection":{"ProjectionType":"KEYS_ONLY"}}],
	"GlobalSecondaryIndexes":[
		{"IndexName":"whole","KeySchema":[{"AttributeName":"g","KeyType":"HASH"},{"AttributeName":"h","KeyType":"RANGE"}],"Projection":{"ProjectionType":"ALL"}},
		{"IndexName":"part","KeySchema":[{"AttributeName":"g","KeyType":"HASH"}],"Projection":{"ProjectionType":"INCLUDE","NonKeyAttributes":["x"]}}]}`

var projected = map[string][]string{"": nil, "whole": nil, "local": {"p", "r", "h"}, "part": {"p", "r", "g", "x"}}

func (it modelItem) number(name string) (float64, bool) {
	v, ok := it[name]["N"].(string)
	if !ok {
		return 0, false
	}
	f, _ := strconv.ParseFloat(v, 64)
	return f, true
}

func (it modelItem) only(names []string) modelItem {
	if names == nil {
		return it
	}
	out := modelItem{}
	for _, n := range names {
		if v, ok := it[n]; ok {
			out[n] = v
		}
	}
	return out
}

func canonical(v any) string { b, _ := json.Marshal(v); return string(b) }

// contents is what an index holds by the model, each entry as JSON, sorted.
func contents(items map[string]modelItem, index string) []string {
	out := []string{}
	for _, it := range items {
		_, hasG := it["g"]
		_, hasH := it["h"]
		if index == "local" && !hasH || index == "whole" && !(hasG && hasH) || index == "part" && !hasG {
			continue
		}
		out = append(out, canonical(it.only(projected[index])))
	}
	slices.Sort(out)
	return out
}

func TestItemsAndIndexesAgainstAModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		a := open(t)
		must(t, a, "CreateTable", modelTable)
		items := map[string]modelItem{}
		draw := func(what string, n int) int { return rapid.IntRange(0, n-1).Draw(rt, what) }
		newItem := func() modelItem {
			it := modelItem{"p": {"S": fmt.Sprintf("p%d", draw("p", 3))}, "r": {"N": strconv.Itoa(draw("r", 4) - 2)}}
			if draw("has g", 3) > 0 {
				it["g"] = map[string]any{"S": fmt.Sprintf("g%d", draw("g", 2))}
			}
			if draw("has h", 3) > 0 {
				it["h"] = map[string]any{"N": strconv.Itoa(draw("h", 5))}
			}
			if draw("has x", 2) > 0 {
				it["x"] = map[string]any{"S": fmt.Sprintf("x%d", draw("x", 3))}
			}
			return it
		}
		keyOf := func(it modelItem) modelItem { return modelItem{"p": it["p"], "r": it["r"]} }
		steps := map[string]func(*rapid.T){
			"put": func(*rapid.T) {
				it := newItem()
				must(t, a, "PutItem", `{"TableName":"model","Item":`+canonical(it)+`}`)
				items[canonical(keyOf(it))] = it
			},
			"put if absent": func(*rapid.T) {
				it := newItem()
				_, there := items[canonical(keyOf(it))]
				status, answer := call(a, "PutItem", `{"TableName":"model","ConditionExpression":"attribute_not_exists(p)","Item":`+canonical(it)+`}`)
				if there != (status == 400 && strings.Contains(answer, "ConditionalCheckFailedException")) {
					rt.Fatalf("there: %v; %d %s", there, status, answer)
				}
				if !there {
					items[canonical(keyOf(it))] = it
				}
			},
			"delete": func(*rapid.T) {
				key := canonical(keyOf(newItem()))
				answer := must(t, a, "DeleteItem", `{"TableName":"model","ReturnValues":"ALL_OLD","Key":`+key+`}`)
				want := "{}"
				if old, ok := items[key]; ok {
					want = canonical(map[string]any{"Attributes": old})
				}
				if !sameJSON(answer, want) {
					rt.Fatalf("deleted %s, want %s", answer, want)
				}
				delete(items, key)
			},
			"update": func(*rapid.T) {
				from := newItem()
				key := canonical(keyOf(from))
				old, ok := items[key]
				it := modelItem{"p": from["p"], "r": from["r"]}
				for n, v := range old {
					it[n] = v
				}
				h := strconv.Itoa(draw("new h", 5))
				it["h"] = map[string]any{"N": h}
				expression := "SET h = :h REMOVE g"
				delete(it, "g")
				if g, has := from["g"]; has {
					it["g"], expression = g, "SET h = :h, g = :g"
				}
				values := modelItem{":h": it["h"]}
				if g, has := from["g"]; has {
					values[":g"] = g
				}
				body := map[string]any{"TableName": "model", "Key": json.RawMessage(key), "UpdateExpression": expression, "ExpressionAttributeValues": values, "ReturnValues": "ALL_NEW"}
				answer := must(t, a, "UpdateItem", canonical(body))
				if want := canonical(map[string]any{"Attributes": it}); !sameJSON(answer, want) {
					rt.Fatalf("updated to %s, want %s (there: %v)", answer, want, ok)
				}
				items[key] = it
			},
			"transaction": func(*rapid.T) {
				one, two := newItem(), newItem()
				k1, k2 := canonical(keyOf(one)), canonical(keyOf(two))
				if k1 == k2 {
					return
				}
				_, there := items[k2]
				status, answer := call(a, "TransactWriteItems", `{"TransactItems":[{"Put":{"TableName":"model","Item":`+canonical(one)+`}},
					{"Delete":{"TableName":"model","ConditionExpression":"attribute_exists(p)","Key":`+k2+`}}]}`)
				if there != (status == 200) || !there && !strings.Contains(answer, `[None, ConditionalCheckFailed]`) {
					rt.Fatalf("there: %v; %d %s", there, status, answer)
				}
				if there {
					items[k1] = one
					delete(items, k2)
				}
			},
			"": func(*rapid.T) {
				for index := range projected {
					body := map[string]any{"TableName": "model"}
					if index != "" {
						body["IndexName"] = index
					}
					if got, want := scanAll(t, a, body), contents(items, index); !slices.Equal(got, want) {
						rt.Fatalf("%q holds\n%s\nwant\n%s", index, strings.Join(got, "\n"), strings.Join(want, "\n"))
					}
				}
				checkQueries(t, rt, a, items)
			},
		}
		rt.Repeat(steps)
	})
}

func sameJSON(a, b string) bool {
	var x, y any
	return json.Unmarshal([]byte(a), &x) == nil && json.Unmarshal([]byte(b), &y) == nil && canonical(x) == canonical(y)
}

// scanAll reads a table or index in pages of two, by two segments.
func scanAll(t *testing.T, a *dynamo.API, body map[string]any) []string {
	out := []string{}
	for segment := range 2 {
		delete(body, "ExclusiveStartKey")
		body["Segment"], body["TotalSegments"], body["Limit"] = segment, 2, 2
		for {
			page := pageOf(t, a, "Scan", body)
			for _, it := range page.Items {
				out = append(out, canonical(it))
			}
			if page.LastEvaluatedKey == nil {
				break
			}
			body["ExclusiveStartKey"] = page.LastEvaluatedKey
		}
	}
	slices.Sort(out)
	return out
}

type page struct {
	Items               []modelItem
	Count, ScannedCount int
	LastEvaluatedKey    modelItem
}

func pageOf(t *testing.T, a *dynamo.API, operation string, body map[string]any) (p page) {
	t.Helper()
	if err := json.Unmarshal([]byte(must(t, a, operation, canonical(body))), &p); err != nil {
		t.Fatal(err)
	}
	return p
}

// checkQueries reads partitions in both directions and by a range of the sort key, page by page.
func checkQueries(t *testing.T, rt *rapid.T, a *dynamo.API, items map[string]modelItem) {
	low, high := rapid.IntRange(-2, 1).Draw(rt, "low"), rapid.IntRange(-2, 2).Draw(rt, "high")
	forward := rapid.Bool().Draw(rt, "forward")
	if low > high {
		low, high = high, low
	}
	var want []modelItem
	for _, it := range items {
		if r, _ := it.number("r"); it["p"]["S"] == "p1" && r >= float64(low) && r <= float64(high) {
			want = append(want, it)
		}
	}
	slices.SortFunc(want, func(x, y modelItem) int {
		a, _ := x.number("r")
		b, _ := y.number("r")
		if forward {
			return int(a - b)
		}
		return int(b - a)
	})
	body := map[string]any{"TableName": "model", "KeyConditionExpression": "p = :p AND r BETWEEN :a AND :b", "ScanIndexForward": forward, "Limit": 2, "ConsistentRead": true,
		"ExpressionAttributeValues": modelItem{":p": {"S": "p1"}, ":a": {"N": strconv.Itoa(low)}, ":b": {"N": strconv.Itoa(high)}}}
	var got []modelItem
	for {
		p := pageOf(t, a, "Query", body)
		got = append(got, p.Items...)
		if p.LastEvaluatedKey == nil {
			break
		}
		body["ExclusiveStartKey"] = p.LastEvaluatedKey
	}
	if canonical(got) != canonical(want) {
		rt.Fatalf("%d to %d, forward %v: got %s, want %s", low, high, forward, canonical(got), canonical(want))
	}
}
