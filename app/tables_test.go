package app

import (
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/banyanhq/banyan/store"
)

const withTables = twoServices + `tables:
  orders: {key: [customer, id], replicas: 3}
  products: {key: id, consistency: eventual}
  archive: {key: id, engine: dynamodb, url: "https://dynamodb.eu-central-1.amazonaws.com"}
`

func TestTablesOfAService(t *testing.T) {
	sys := parse(t, strings.Replace(withTables, "uses: [word-list]", "uses: [word-list, tables.orders]", 1))
	if err := Unsupported(sys); err != nil {
		t.Fatal(err)
	}
	a := &App{}
	a.system.Store(sys)
	a.cfg.System, a.cfg.Dir = sys, t.TempDir()
	a.cfg.Log = slog.New(slog.DiscardHandler)
	if err := a.openTables(); err != nil {
		t.Fatal(err)
	}
	defer a.closeBlocks()
	url := a.tables.Load().URL()
	want := []string{"AWS_ENDPOINT_URL_DYNAMODB=" + url, "AWS_ENDPOINT_URL_DYNAMODB_STREAMS=" + url, "AWS_REGION=us-east-1", "AWS_ACCESS_KEY_ID=banyan", "AWS_SECRET_ACCESS_KEY=banyan"}
	if got := a.tablesEnviron("web"); !slices.Equal(got, want) {
		t.Errorf("web finds %v", got)
	}
	if got := a.tablesEnviron("word-list"); got != nil {
		t.Errorf("word-list, which uses none, finds %v", got)
	}
	lines := strings.Join(a.tableEndpoints(), "\n")
	for _, want := range []string{"tables on " + url, "tables.orders: replicas 3 are not built yet", "tables.products: consistency eventual is not built yet"} {
		if !strings.Contains(lines, want) {
			t.Errorf("%q is not said:\n%s", want, lines)
		}
	}
	if got := store.FromFile(sys); len(got) != 2 || got[0].Name != "orders" || !slices.Equal(got[0].Key, []string{"customer", "id"}) {
		t.Errorf("tables of the file: %v", got)
	}
}

func TestTablesElsewhere(t *testing.T) {
	sys := parse(t, strings.Replace(withTables, "uses: [word-list]", "uses: [word-list, tables.archive]", 1))
	a := &App{}
	a.system.Store(sys)
	if got := a.tablesEnviron("web"); !slices.Equal(got, []string{"AWS_ENDPOINT_URL_DYNAMODB=https://dynamodb.eu-central-1.amazonaws.com"}) {
		t.Errorf("web finds %v", got)
	}
	sys = parse(t, strings.Replace(withTables, "uses: [word-list]", "uses: [word-list, tables.archive, tables.orders]", 1))
	if err := Unsupported(sys); err == nil || !strings.Contains(err.Error(), "services.web: uses tables at two places") {
		t.Errorf("tables at two places: %v", err)
	}
}
