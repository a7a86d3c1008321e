package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"testing"

	"github.com/banyanhq/banyan/examples/shop/httpserve"
)

func TestGenerate(t *testing.T) {
	products := generate(productCount)
	if !reflect.DeepEqual(products, generate(productCount)) {
		t.Fatal("two generations differ")
	}
	names := map[string]bool{}
	limited := 0
	for i, p := range products {
		if p.ID != i+1 || p.Name == "" || p.Description == "" || p.Maker == "" {
			t.Fatalf("product %d: %+v", i+1, p)
		}
		if names[p.Name] {
			t.Errorf("two products are called %s", p.Name)
		}
		names[p.Name] = true
		if p.PriceCents < 500 || p.PriceCents > 99_995 || p.Rating < 10 || p.Rating > 50 || p.Hue < 0 || p.Hue > 359 {
			t.Errorf("implausible: %+v", p)
		}
		if p.Limited {
			limited++
		}
		if p.Limited != (p.Edition == limitedEdition) || p.Edition < 1 {
			t.Errorf("edition: %+v", p)
		}
	}
	if limited != limitedProducts {
		t.Errorf("%d limited editions, want %d", limited, limitedProducts)
	}
}

func small() *index {
	return newIndex([]Product{
		{ID: 1, Name: "Amber Brass Desk Lamp", Category: "Lighting", Maker: "Månsson", Description: "For a chair."},
		{ID: 2, Name: "Rowan Oak Rocking Chair", Category: "Chairs", Maker: "Old Mill", Description: "By the lamp."},
		{ID: 3, Name: "Fern Green Tea", Category: "Tea", Maker: "Old Mill", Description: "Two cups, slowly."},
		{ID: 4, Name: "Teak Bench", Category: "Chairs", Maker: "Pico", Description: "Sit."},
	})
}

func TestSearch(t *testing.T) {
	for _, tt := range []struct {
		query string
		want  []int // ids, best first
	}{
		{"lamp", []int{1, 2}},        // the name counts for more than the description
		{"LAMPS", []int{1, 2}},       // case and plural
		{"chair", []int{2, 4, 1}},    // category before description
		{"oak chair", []int{2}},      // every word must match
		{"lam", []int{1, 2}},         // a beginning
		{"tea", []int{3, 4}},         // the whole word before a beginning of another
		{"t", nil},                   // too short to be a beginning
		{"mansson", []int{1}},        // without the accent
		{"brass zebra", []int{1}},    // the most words that there are
		{"chair brass", []int{1}},    // in any order
		{"old mil", []int{2, 3}},     // the maker; equals in the order of their ids
		{"zebra", nil},               // nothing
		{"", nil},                    // nothing asked
		{"!!! ---", nil},             // no words
		{"desk\x00lamp", []int{1}},   // odd bytes part words
		{"two cups, slow", []int{3}}, // of the description
	} {
		docs, total := small().search(tt.query, 10, func(int) bool { return true })
		var got []int
		for _, d := range docs {
			got = append(got, d+1)
		}
		if !reflect.DeepEqual(got, tt.want) || total != len(tt.want) {
			t.Errorf("%q: %v of %d, want %v", tt.query, got, total, tt.want)
		}
	}
	if docs, total := small().search("chair", 1, func(int) bool { return true }); len(docs) != 1 || total != 3 {
		t.Errorf("with a limit of 1: %v of %d", docs, total)
	}
	if docs, _ := small().search("chair", 9, func(d int) bool { return d != 1 }); len(docs) != 2 {
		t.Errorf("with one ruled out: %v", docs)
	}
}

// Every product is found by its own name, first or with names just as good.
func TestSearchFindsEveryProduct(t *testing.T) {
	products := generate(400)
	x := newIndex(products)
	for i, p := range products {
		docs, _ := x.search(p.Name, 5, func(int) bool { return true })
		found := false
		for _, d := range docs {
			found = found || d == i
		}
		if !found {
			t.Errorf("%q is not among the first five for its own name", p.Name)
		}
	}
}

func FuzzSearch(f *testing.F) {
	x := small()
	for _, s := range []string{"lamp", "a b c d e f g h i j", "\xff", "ss s"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, query string) {
		docs, total := x.search(query, 2, func(int) bool { return true })
		if len(docs) > 2 || total > 4 || len(docs) > total {
			t.Errorf("%d of %d", len(docs), total)
		}
	})
}

func TestHandler(t *testing.T) {
	c, err := newCatalog(generate(productCount))
	if err != nil {
		t.Fatal(err)
	}
	h := httpserve.Handler(httpserve.Service{Handler: c.handler()})
	for _, tt := range []struct {
		path            string
		status          int
		products, total int
	}{
		{"/products", 200, 20, 2000},
		{"/products?limit=100&offset=1950", 200, 50, 2000},
		{"/products?featured=12", 200, 12, 2000},
		{"/products?featured=100", 200, 100, 2000},
		{"/products?category=tea&limit=3", 200, 3, 167},
		{"/products?category=none", 200, 0, 0},
		{"/products?ids=1,2000,2001,0", 200, 2, 2},
		{"/products?ids=1,x", 400, 0, 0},
		{"/products?ids=" + strings.Repeat("1,", 100) + "1", 400, 0, 0},
		{"/products?limit=101", 400, 0, 0},
		{"/products?offset=-1", 400, 0, 0},
		{"/search?q=lamp&limit=7", 200, 7, -1},
		{"/search?q=lamp&category=Tea", 200, 0, 0},
		{"/search", 200, 0, 0},
		{"/search?q=" + strings.Repeat("x", 121), 400, 0, 0},
		{"/search?q=" + url.QueryEscape(strings.Repeat("a ", 60)), 200, -1, -1},
		{"/products/2000", 200, -1, -1},
		{"/products/0", 404, 0, 0},
		{"/products/2001", 404, 0, 0},
		{"/products/x", 404, 0, 0},
		{"/healthz", 200, -1, -1},
		{"/livez", 200, -1, -1},
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, tt.path, nil))
		var answer struct {
			Total    int
			Products []Product
		}
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != tt.status {
			t.Errorf("%.60s: %d %v, want %d", tt.path, w.Code, err, tt.status)
			continue
		}
		if tt.products >= 0 && len(answer.Products) != tt.products || tt.total >= 0 && answer.Total != tt.total {
			t.Errorf("%.60s: %d products of %d, want %d of %d", tt.path, len(answer.Products), answer.Total, tt.products, tt.total)
		}
		seen := map[int]bool{}
		for _, p := range answer.Products {
			if seen[p.ID] {
				t.Errorf("%s: product %d is there twice", tt.path, p.ID)
			}
			seen[p.ID] = true
		}
	}
}

func BenchmarkSearch(b *testing.B) {
	x := newIndex(generate(productCount))
	for b.Loop() {
		x.search("brass la", 24, func(int) bool { return true })
	}
}
