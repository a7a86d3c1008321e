package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
)

// audit starts the services on what they have on disk, and holds money, stock and what the buyers were told against each
// other.
func (b *bench) audit(ctx context.Context, bought []outcome) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	orders, err := b.serve(ctx, "orders")
	if err != nil {
		return err
	}
	payments, err := b.serve(ctx, "payments")
	if err != nil {
		return err
	}
	wrong, confirmed, declined := 0, 0, 0
	say := func(format string, args ...any) {
		if wrong++; wrong <= 20 {
			fmt.Printf("WRONG: "+format+"\n", args...)
		}
	}
	var money int64
	sold := map[int]int64{}
	for _, o := range bought {
		var paid struct {
			Status string `json:"status"`
			Cents  int64  `json:"amount_cents"`
		}
		ask(ctx, payments, "/payments/checkout_"+o.key+"_charge", &paid)
		var order struct {
			Status string `json:"status"`
			Total  int64  `json:"total_cents"`
			Lines  []struct {
				Product  int   `json:"product_id"`
				Quantity int64 `json:"quantity"`
			} `json:"lines"`
		}
		if o.declined {
			declined++
			if paid.Status == "approved" {
				say("%s was declined, and %d cents were taken", o.key, paid.Cents)
			}
			continue
		}
		confirmed++
		ask(ctx, orders, "/orders/"+o.order, &order)
		// A cart whose answer was lost may have the product twice: adding to a cart has no key.
		for _, l := range order.Lines {
			sold[l.Product] += l.Quantity
		}
		if order.Status != "confirmed" || paid.Status != "approved" || paid.Cents != order.Total || order.Total != o.cents {
			say("%s: the buyer was told of %d cents; the order is %q over %d, the payment %q over %d", o.key, o.cents, order.Status, order.Total, paid.Status, paid.Cents)
		}
		money += paid.Cents
	}
	for product := 1; product <= 50; product++ {
		var stock struct {
			Taken int64 `json:"taken"`
		}
		ask(ctx, orders, fmt.Sprintf("/stock/%d", product), &stock)
		if stock.Taken != sold[product] {
			say("of product %d %d pieces were sold, and %d are gone", product, sold[product], stock.Taken)
		}
	}
	fmt.Printf("%d confirmed and paid (%d cents), %d declined; %d wrong\n", confirmed, money, declined, wrong)
	if wrong > 0 {
		return errors.New("money and stock are not consistent")
	}
	return nil
}

// serve starts a service of the shop on what it has on disk, and returns its address.
func (b *bench) serve(ctx context.Context, service string) (string, error) {
	data, err := filepath.Glob(filepath.Join(b.dir, "state", "data", service))
	if err != nil || len(data) != 1 {
		return "", fmt.Errorf("the data of %s is not where it was expected: %v", service, data)
	}
	cmd := exec.CommandContext(ctx, filepath.Join(b.dir, service))
	cmd.Env = append(os.Environ(), "PORT=0", "BANYAN_DATA="+data[0])
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", err
	}
	if err := cmd.Start(); err != nil {
		return "", err
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var line struct{ Msg, Address string }
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "listening" {
			return line.Address, nil
		}
	}
	return "", fmt.Errorf("%s does not start", service)
}

// ask leaves 'into' as it is where there is nothing at a path.
func ask(ctx context.Context, address, path string, into any) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+path, nil)
	if err == nil {
		answered(r, into)
	}
}
