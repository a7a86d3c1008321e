package main

import (
	"context"
	"fmt"
	"hash/fnv"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/banyanhq/banyan/examples/shop/tables"
)

const (
	ordersTable    = "orders"    // by id
	stockTable     = "stock"     // by product; one that was never asked for has no item
	unsettledTable = "unsettled" // orders without an outcome, oldest first
	// unsettledParts is how many partitions those are spread over, as each
	// takes so many writes a second only; a sweep asks all of them.
	unsettledParts = 4
)

// tableBook keeps orders and stock in tables. An order's id follows from its
// Idempotency-Key, so the order's own item is what tells that a key was used.
type tableBook struct {
	client *dynamodb.Client
}

// entry is an item of the orders.
type entry struct {
	Order
	Print string `json:"print"` // of the request
}

// pieces of a product, an item of the stock.
type pieces struct {
	InStock int64 `json:"in_stock"`
	Taken   int64 `json:"taken"`
}

func orderKey(id string) tables.Item { return tables.Item{"id": tables.Text(id)} }

func stockKey(product int) tables.Item {
	return tables.Item{"id": tables.Text(strconv.Itoa(product))}
}

// unsettledKey is where an order stands that has no outcome.
func unsettledKey(o Order) tables.Item {
	h := fnv.New32a()
	h.Write([]byte(o.ID))
	return tables.Item{"part": tables.Text(partName(int(h.Sum32() % unsettledParts))), "entry": tables.Text(entryName(o.At, o.ID))}
}

func partName(n int) string { return "part-" + strconv.Itoa(n) }

// entryName sorts by time: 13 digits of milliseconds reach to the year 2286.
func entryName(at int64, id string) string { return fmt.Sprintf("%013d-%s", at, id) }

func (b *tableBook) get(ctx context.Context, id string) (Order, bool, error) {
	var e entry
	ok, err := tables.Get(ctx, b.client, ordersTable, orderKey(id), &e)
	return e.Order, ok, err
}

func (b *tableBook) stock(ctx context.Context, product int) (stock, error) {
	var is pieces
	ok, err := tables.Get(ctx, b.client, stockTable, stockKey(product), &is)
	if err != nil || !ok {
		return stock{Product: product}, err
	}
	return stock{Product: product, Left: &is.InStock, Taken: is.Taken}, nil
}

// reserve makes the order and takes its pieces in one transaction: either the
// key is new and all pieces are there, or nothing changes.
func (b *tableBook) reserve(ctx context.Context, o Order, print string, editions map[int]int64) (Order, bool, error) {
	if len(o.Lines) == 0 {
		var was entry
		if ok, err := tables.Get(ctx, b.client, ordersTable, orderKey(o.ID), &was); err != nil {
			return Order{}, false, err
		} else if !ok {
			return Order{}, false, emptyOrder()
		}
		return was.unless(nil, print)
	}
	item, err := tables.Encode(entry{o, print})
	if err != nil {
		return Order{}, false, err
	}
	writes := []types.TransactWriteItem{{Put: &types.Put{TableName: aws.String(ordersTable), Item: item,
		ConditionExpression:                 aws.String("attribute_not_exists(id)"),
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld}}}
	for _, l := range o.Lines {
		writes = append(writes, withdraw(l, editions[l.Product]))
	}
	if !o.Held {
		writes = append(writes, types.TransactWriteItem{Put: &types.Put{TableName: aws.String(unsettledTable), Item: unsettledKey(o)}})
	}
	_, err = b.client.TransactWriteItems(ctx, &dynamodb.TransactWriteItemsInput{TransactItems: writes})
	if err == nil {
		return o, true, nil
	}
	if there, refused := tables.RefusedAt(err, 0); refused {
		var was entry
		if err := tables.Decode(there, &was); err != nil {
			return Order{}, false, err
		}
		return was.unless(o.Lines, print)
	}
	for i, l := range o.Lines {
		if there, refused := tables.RefusedAt(err, 1+i); refused {
			return Order{}, false, soldOut(l, there, editions[l.Product])
		}
	}
	return Order{}, false, fmt.Errorf("reserving the order %s: %w", o.ID, err)
}

// unless returns the order that is there already, unless it was made by
// another request.
func (e entry) unless(lines []Line, print string) (Order, bool, error) {
	if err := sameRequest(e.Order, e.Print, lines, print); err != nil {
		return Order{}, false, err
	}
	return e.Order, false, nil
}

// withdraw is the write that takes the pieces of a line from the stock, if there
// are as many. The first one for a product begins with its edition.
func withdraw(l Line, edition int64) types.TransactWriteItem {
	condition := "in_stock >= :n"
	if n := int64(l.Quantity); n <= edition {
		condition = "attribute_not_exists(id) OR " + condition
	}
	return types.TransactWriteItem{Update: &types.Update{TableName: aws.String(stockTable), Key: stockKey(l.Product),
		UpdateExpression:    aws.String("SET in_stock = if_not_exists(in_stock, :edition) - :n, taken = if_not_exists(taken, :none) + :n"),
		ConditionExpression: &condition,
		ExpressionAttributeValues: tables.Item{":n": tables.Number(int64(l.Quantity)), ":edition": tables.Number(edition),
			":none": tables.Number(0)},
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld}}
}

func soldOut(l Line, there tables.Item, edition int64) error {
	left := edition
	if there != nil {
		var is pieces
		if err := tables.Decode(there, &is); err != nil {
			return err
		}
		left = is.InStock
	}
	return outOfStock(l, left)
}

// settle writes the outcome, takes the order from those without one, and gives
// its pieces back if nothing was paid, in one transaction.
func (b *tableBook) settle(ctx context.Context, to settle) (Order, error) {
	o, ok, err := b.get(ctx, to.ID)
	switch {
	case err != nil:
		return Order{}, err
	case !ok:
		return Order{}, fmt.Errorf("settling order %s: there is no such order", to.ID)
	case o.Status != pending:
		return o, nil
	}
	o.Status, o.Reference = to.Status, to.Reference
	writes := []types.TransactWriteItem{outcome(o)}
	if !o.Held {
		writes = append(writes, types.TransactWriteItem{Delete: &types.Delete{TableName: aws.String(unsettledTable), Key: unsettledKey(o)}})
	}
	if o.Status != confirmed {
		for _, l := range o.Lines {
			writes = append(writes, giveBack(l))
		}
	}
	_, err = b.client.TransactWriteItems(ctx, &dynamodb.TransactWriteItemsInput{TransactItems: writes})
	if there, refused := tables.RefusedAt(err, 0); refused {
		var was entry // settled meanwhile, by a retry or a sweep
		return was.Order, tables.Decode(there, &was)
	}
	if err != nil {
		return Order{}, fmt.Errorf("settling the order %s: %w", o.ID, err)
	}
	return o, nil
}

func outcome(o Order) types.TransactWriteItem {
	return types.TransactWriteItem{Update: &types.Update{TableName: aws.String(ordersTable), Key: orderKey(o.ID),
		UpdateExpression:         aws.String("SET #status = :to, #reference = :reference"),
		ConditionExpression:      aws.String("#status = :pending"),
		ExpressionAttributeNames: map[string]string{"#status": "status", "#reference": "reference"},
		ExpressionAttributeValues: tables.Item{":to": tables.Text(o.Status), ":reference": tables.Text(o.Reference),
			":pending": tables.Text(pending)},
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld}}
}

func giveBack(l Line) types.TransactWriteItem {
	return types.TransactWriteItem{Update: &types.Update{TableName: aws.String(stockTable), Key: stockKey(l.Product),
		UpdateExpression:          aws.String("SET in_stock = in_stock + :n, taken = taken - :n"),
		ExpressionAttributeValues: tables.Item{":n": tables.Number(int64(l.Quantity))}}}
}

func (b *tableBook) void(ctx context.Context, id string, now int64) (Order, error) {
	o := Order{ID: id, Status: cancelled, At: now, Held: true}
	item, err := tables.Encode(entry{Order: o})
	if err != nil {
		return Order{}, err
	}
	_, err = b.client.PutItem(ctx, &dynamodb.PutItemInput{TableName: aws.String(ordersTable), Item: item,
		ConditionExpression: aws.String("attribute_not_exists(id)")})
	if _, refused := tables.Refused(err); refused {
		return b.settle(ctx, settle{ID: id, Status: cancelled})
	}
	if err != nil {
		return Order{}, fmt.Errorf("cancelling the order %s: %w", id, err)
	}
	return o, nil
}

func (b *tableBook) unsettledSince(ctx context.Context, before int64, limit int) (ids []string, err error) {
	for part := range unsettledParts {
		out, err := b.client.Query(ctx, &dynamodb.QueryInput{TableName: aws.String(unsettledTable), ConsistentRead: aws.Bool(true),
			KeyConditionExpression:   aws.String("part = :part AND #entry < :before"),
			ExpressionAttributeNames: map[string]string{"#entry": "entry"},
			ExpressionAttributeValues: tables.Item{":part": tables.Text(partName(part)),
				":before": tables.Text(entryName(before, ""))},
			Limit: aws.Int32(int32(limit - len(ids)))})
		if err != nil {
			return nil, fmt.Errorf("reading from the table %s: %w", unsettledTable, err)
		}
		for _, item := range out.Items {
			var at struct {
				Entry string `json:"entry"`
			}
			if err := tables.Decode(item, &at); err != nil {
				return nil, err
			}
			if len(at.Entry) > len(entryName(0, "")) {
				ids = append(ids, at.Entry[len(entryName(0, "")):])
			}
		}
		if len(ids) >= limit {
			break
		}
	}
	return ids, nil
}
