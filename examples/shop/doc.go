// Package shop is the first case study: a small shop of five programs (web,
// catalog, cart, orders, payments) that know nothing of Banyan. Each program
// is a folder of its own with a main package; what they share is journal (the
// durable, many-process log that holds their state) and httpserve (start-up,
// JSON and the client). This package holds no code, only the tests that run
// the five programs together and kill them.
package shop
