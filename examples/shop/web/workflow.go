package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/banyanhq/banyan/examples/shop/httpserve"
)

// workflow has checkouts carried through by the saga at CHECKOUT_SAGA_URL: it
// is started by a POST with an Idempotency-Key, and answers with its run.
type workflow struct {
	saga, runs, payments *httpserve.Client
	name                 string // of the saga
}

// patience is how long a buyer waits for the end of a checkout; the run goes on
// without, and the same key finds it again.
const patience = "?wait=10s"

// newWorkflow returns nil where the surroundings have none.
func newWorkflow(env httpserve.Env) (*workflow, error) {
	saga, err := env.Optional("checkout-saga")
	if err != nil || saga == "" {
		return nil, err
	}
	payments, err := env.URL("payments", 8094)
	if err != nil {
		return nil, err
	}
	base, name, _ := strings.Cut(saga, "/sagas/")
	return &workflow{
		saga:     httpserve.NewClient("the checkout", saga, 12*time.Second),
		runs:     httpserve.NewClient("the checkout", base+"/runs", 12*time.Second),
		payments: httpserve.NewClient("payments", payments, 5*time.Second),
		name:     name,
	}, nil
}

// checkoutInput is what a run is started with. A token stands for the card.
type checkoutInput struct {
	Key        string   `json:"key"`
	Cart       string   `json:"cart"`
	Items      []item   `json:"items"`
	Customer   customer `json:"customer"`
	LastFour   string   `json:"last_four"`
	Token      string   `json:"token"`
	TotalCents int64    `json:"total_cents"`
}

// run is what web reads of a run.
type run struct {
	Status string        `json:"status"`
	Input  checkoutInput `json:"input"`
	Steps  []struct {
		Name   string          `json:"name"`
		Code   int             `json:"code"`
		Result json.RawMessage `json:"result"`
	} `json:"steps"`
}

// placeOrder starts the run of a key, or finds it, and waits for its end.
func (w *workflow) placeOrder(ctx context.Context, key string, r orderRequest) (order, int, error) {
	if len(key) < 16 || len(key) > 128 {
		return order{}, 0, httpserve.Errorf(http.StatusBadRequest, "bad_key", "Idempotency-Key: want 16 to 128 letters, digits, - and _, a new one for each order")
	}
	var token struct {
		Key      string `json:"key"`
		LastFour string `json:"last_four"`
	}
	if _, err := w.payments.Do(ctx, httpserve.Call{Method: http.MethodPost, Path: "/cards", Key: key, In: map[string]string{"card": r.Card}, Out: &token}); err != nil {
		return order{}, 0, err
	}
	input := checkoutInput{Key: key, Cart: r.Cart, Items: r.Items, Customer: r.Customer, LastFour: token.LastFour, Token: token.Key, TotalCents: r.TotalCents}
	if len(r.Items) == 0 {
		// A cart that was bought is empty: the key may have bought it.
		found, err := w.find(ctx, key, input)
		if err != nil {
			return order{}, 0, err
		}
		if found.Status == "" {
			return order{}, 0, httpserve.Errorf(http.StatusUnprocessableEntity, "empty_order", "the order has no items")
		}
		return found.outcome(http.StatusOK)
	}
	var started run
	status, err := w.saga.Do(ctx, httpserve.Call{Method: http.MethodPost, Path: patience, Key: runKey(key), In: input, Out: &started})
	if httpserve.IsStatus(err, http.StatusUnprocessableEntity) {
		return order{}, 0, keyReused()
	}
	if err != nil {
		return order{}, 0, err
	}
	return started.outcome(status)
}

func keyReused() error {
	return httpserve.Errorf(http.StatusUnprocessableEntity, "key_reused", "the Idempotency-Key was used for a different order")
}

// find returns the run of a key; one without a status if there is none.
func (w *workflow) find(ctx context.Context, key string, input checkoutInput) (found run, err error) {
	_, err = w.runs.Do(ctx, httpserve.Call{Path: "/" + url.PathEscape(w.name+"_"+runKey(key)) + patience, Out: &found})
	switch {
	case httpserve.IsStatus(err, http.StatusNotFound):
		return run{}, nil
	case err != nil:
		return run{}, err
	case found.Input.Cart != input.Cart || found.Input.Customer != input.Customer || found.Input.LastFour != input.LastFour:
		return run{}, keyReused()
	}
	return found, nil
}

// runKey fits a key into what a run's may be.
func runKey(key string) string {
	if len(key) <= 64 {
		return key
	}
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])
}

// outcome is the order of a run that is done, and the refusal of the step for
// which the others are undone. Of what is still under way nothing is known.
func (r run) outcome(status int) (o order, _ int, err error) {
	if r.Status == "completed" {
		for _, s := range r.Steps {
			if s.Name == "confirm" {
				err = json.Unmarshal(s.Result, &o)
			}
		}
		if err == nil && o.ID == "" {
			err = errors.New("the run has no order")
		}
		if err != nil {
			return order{}, 0, &httpserve.Unavailable{Service: "the checkout", Err: err}
		}
		return o, status, nil
	}
	if r.Status != "compensated" {
		return order{}, 0, &httpserve.Unavailable{Service: "the checkout", Err: errors.New("it is " + r.Status)}
	}
	for _, s := range r.Steps {
		var said struct {
			Error *httpserve.Error `json:"error"`
		}
		if s.Code >= 400 && s.Code < 500 && json.Unmarshal(s.Result, &said) == nil && said.Error != nil {
			said.Error.Status = s.Code
			return order{}, 0, said.Error
		}
	}
	return order{}, 0, httpserve.Errorf(http.StatusConflict, "cancelled", "the order was cancelled before it was paid; nothing was charged")
}
