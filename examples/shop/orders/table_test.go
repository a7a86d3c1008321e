package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/banyanhq/banyan/examples/shop/httpserve"
	"github.com/banyanhq/banyan/examples/shop/tables"
	"github.com/banyanhq/banyan/examples/shop/tables/tablestest"
)

// A workflow's release is final, whether it comes before the reservation or
// after it, and gives back what was taken.
func TestReleaseIsFinal(t *testing.T) {
	eachKind(t, func(t *testing.T, replica func(http.Handler) *service) {
		w := newWorld(5)
		a, b := replica(w), replica(w)
		reserve := func(s *service, k string) (Order, error) {
			o, _, err := s.handleReserve(httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/reservations", nil), reservation{Key: k,
				Items: []item{{7, 2}}, Customer: Customer{"Ann", "ann@example.org", "Road 1"}, LastFour: "4242"})
			return o, err
		}
		taken := func(want int64) {
			t.Helper()
			if s, err := a.book.stock(t.Context(), 7); err != nil || s.Taken != want {
				t.Errorf("%+v, %v, want %d taken", s, err, want)
			}
		}
		if o, err := reserve(a, key(1)); err != nil || o.Status != pending {
			t.Fatalf("%+v, %v", o, err)
		}
		taken(2)
		for _, k := range []string{key(1), key(1), key(2)} {
			if o, err := b.book.void(t.Context(), orderID(k), 1); err != nil || o.Status != cancelled {
				t.Errorf("release of %s: %+v, %v", k, o, err)
			}
		}
		taken(0)
		for _, k := range []string{key(1), key(2)} {
			if _, err := reserve(b, k); !httpserve.IsStatus(err, http.StatusConflict) && !httpserve.IsStatus(err, http.StatusUnprocessableEntity) {
				t.Errorf("a reservation after the release of %s: %v", k, err)
			}
		}
		taken(0)
		b.now = func() time.Time { return time.Now().Add(time.Hour) }
		if ids, err := b.book.unsettledSince(t.Context(), b.now().UnixMilli(), 100); err != nil || len(ids) > 0 {
			t.Errorf("for the sweep: %v, %v", ids, err)
		}
	})
}

// A transaction whose answer got lost is tried again by the SDK, and is carried
// out once: no piece is taken twice.
func TestLostAnswerTakesOnce(t *testing.T) {
	w := newWorld(5)
	s := replica(t, onTables(tablestest.LoseAnswer(t, tablestest.Start(t, "../tables.yaml"), "TransactWriteItems")), w)
	if status, body := post(t, s, key(1), buy(goodCard, item{7, 2})); status != http.StatusCreated {
		t.Fatalf("%d %s", status, body)
	}
	if in, err := s.book.stock(t.Context(), 7); err != nil || in.Taken != 2 || *in.Left != 3 {
		t.Errorf("%+v, %v", in, err)
	}
}

// What is left of an edition is what the table says, not what was made of it:
// there may be more after a delivery.
func TestStockIsTheTables(t *testing.T) {
	w := newWorld(1)
	b := onTables(tablestest.Start(t, "../tables.yaml"))
	s := replica(t, b, w)
	if status, body := post(t, s, key(1), buy(goodCard, item{7, 1})); status != http.StatusCreated {
		t.Fatalf("%d %s", status, body)
	}
	if status, body := post(t, s, key(2), buy(goodCard, item{7, 1})); status != http.StatusConflict {
		t.Fatalf("sold out: %d %s", status, body)
	}
	if _, err := b.client.UpdateItem(t.Context(), &dynamodb.UpdateItemInput{TableName: aws.String(stockTable), Key: stockKey(7),
		UpdateExpression: aws.String("ADD in_stock :n"), ExpressionAttributeValues: tables.Item{":n": tables.Number(3)}}); err != nil {
		t.Fatal(err)
	}
	if status, body := post(t, s, key(3), buy(goodCard, item{7, 4})); status != http.StatusConflict || !strings.Contains(body, "4 wanted, 3 left") {
		t.Errorf("more than were delivered: %d %s", status, body)
	}
	if status, body := post(t, s, key(4), buy(goodCard, item{7, 3})); status != http.StatusCreated {
		t.Errorf("what was delivered: %d %s", status, body)
	}
}
