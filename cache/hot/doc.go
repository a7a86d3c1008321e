// Package hot says when a node of a clustered cache may answer reads of a key that is another node's, because that key is hot.
//
// It promises a bound on how old such an answer is: what a node answers at an instant t was the key's value, at the node that
// owns it, at some instant between t - Lease and t. Where frames arrive, an answer is older only by the way of one frame.
//
// It is done by leases (Gray and Cheriton, Leases: An Efficient Fault-Tolerant Mechanism for Distributed File Cache
// Consistency, SOSP 1989), but a write does not wait for those who hold one:
//
//   - The Owner of keys that are hot offers them to the other nodes. An offer is a hint; it says nothing of the value.
//   - A Holder that is asked for an offered key asks the owner for a copy, and may read it until Lease after it asked: the owner
//     read the value after that. So no clock need tell the right time, and no frame need be fast: the clocks must only run at
//     like rates.
//   - When the key changes, the owner tells those who have a copy. If that is lost, the lease bounds the harm, as it does where the
//     owner dies, is cut off, or gives the slot away: whoever owns it then need not know who has copies.
//
// Both are pure: instants come in as arguments, from any clock that does not jump; what is to be sent comes out. Values are
// none of their business. Neither may be used by several goroutines at a time.
package hot
