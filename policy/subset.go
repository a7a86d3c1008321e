package policy

import "slices"

// Subset returns the indices of the backends that one of several gateways uses, ascending, so that many gateways and many
// backends need not all be connected. It is deterministic subsetting (B. Beyer et al., Site Reliability Engineering, 2016,
// chapter 20): gateways are taken in rounds, each round puts the backends in an order of its own and deals them out to
// its gateways in turn, so that every backend is used by as many gateways as any other, give or take one a round. The
// order is by a hash of round and backend, so that a backend that comes or goes changes little for the others.
//
// Where the gateways are so few that some backends would not be used at all, each takes more than size. Keys are the
// backends' own, client is the number of the gateway, from 0 to clients-1.
func Subset(keys []uint64, size, client, clients int) []int {
	n := len(keys)
	clients = max(clients, 1)
	client = min(max(client, 0), clients-1)
	size = max(size, (n+clients-1)/clients)
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	if size <= 0 || size >= n {
		return out
	}
	subsets := n / size
	round, turn := uint64(client/subsets), client%subsets
	place := func(i int) uint64 { return mix(mix(keys[i]+golden) ^ mix((round+1)*golden)) }
	slices.SortFunc(out, func(a, b int) int {
		switch x, y := place(a), place(b); {
		case x < y:
			return -1
		case x > y:
			return 1
		}
		return a - b
	})
	out = out[turn*n/subsets : (turn+1)*n/subsets]
	slices.Sort(out)
	return out
}
