// Records what a real etcd answers to a random history, one line a request: kind, request, "ok" or "error", answer (messages in
// hex). The differential test of quorate-core replays it.
//
//	etcd --unsafe-no-fsync & go run . -seed 1 -requests 1500 > ../etcd-3.7.3.txt
package main

import (
	"bufio"
	"context"
	"encoding/hex"
	"flag"
	"fmt"
	"log"
	"math/rand"
	"os"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

var keys = []string{"a", "a\x00", "a\x00\xff", "a\x01", "ab", "b", "\xff\xff"}

type generator struct {
	*rand.Rand
	revision, compacted int64
}

func (g *generator) key() []byte { return []byte(keys[g.Intn(len(keys))]) }

func (g *generator) end() []byte {
	switch g.Intn(7) {
	case 0:
		return []byte{0}
	case 1, 2:
		return g.key()
	}
	return nil
}

func (g *generator) value() []byte {
	return []byte([]string{"", "x", "y", "a longer value"}[g.Intn(4)])
}

func (g *generator) lease() int64 { return []int64{0, 0, 0, 1, 2, -1}[g.Intn(6)] }

func (g *generator) place() int64 {
	if g.Intn(3) > 0 {
		return 0
	}
	return g.Int63n(g.revision+2) - 1 + g.Int63n(2)
}

func (g *generator) one(of int) bool { return g.Intn(of) == 0 }

func (g *generator) bound() int64 {
	if g.Intn(6) > 0 {
		return 0
	}
	return g.Int63n(g.revision) + 1
}

func (g *generator) rangeRequest() *pb.RangeRequest {
	r := &pb.RangeRequest{
		Key: g.key(), RangeEnd: g.end(), Limit: g.Int63n(5) - 1, Revision: g.place(),
		KeysOnly: g.one(5), CountOnly: g.one(8),
		MinModRevision: g.bound(), MaxModRevision: g.bound(),
		MinCreateRevision: g.bound(), MaxCreateRevision: g.bound(),
	}
	if g.one(2) {
		r.SortOrder = pb.RangeRequest_SortOrder(g.Intn(3))
		r.SortTarget = pb.RangeRequest_SortTarget(g.Intn(5))
	}
	if g.one(2) {
		r.Key, r.RangeEnd = []byte{0}, []byte{0}
	}
	return r
}

func (g *generator) put() *pb.PutRequest {
	r := &pb.PutRequest{Key: g.key(), Value: g.value(), Lease: g.lease(), PrevKv: g.one(2)}
	r.IgnoreValue, r.IgnoreLease = g.one(6), g.one(6)
	if r.IgnoreValue && !g.one(10) {
		r.Value = nil
	}
	if r.IgnoreLease && !g.one(10) {
		r.Lease = 0
	}
	return r
}

func (g *generator) delete(fromKey bool) *pb.DeleteRangeRequest {
	r := &pb.DeleteRangeRequest{Key: g.key(), RangeEnd: g.end(), PrevKv: g.one(2)}
	if !fromKey && len(r.RangeEnd) == 1 && r.RangeEnd[0] == 0 {
		r.RangeEnd = nil
	}
	return r
}

func (g *generator) compare() *pb.Compare {
	c := &pb.Compare{
		Result: pb.Compare_CompareResult(g.Intn(4)), Target: pb.Compare_CompareTarget(g.Intn(5)),
		Key: g.key(), RangeEnd: g.end(),
	}
	union := int(c.Target)
	if g.one(6) {
		union = g.Intn(6)
	}
	switch union {
	case 0:
		c.TargetUnion = &pb.Compare_Version{Version: g.Int63n(4)}
	case 1:
		c.TargetUnion = &pb.Compare_CreateRevision{CreateRevision: g.Int63n(g.revision + 1)}
	case 2:
		c.TargetUnion = &pb.Compare_ModRevision{ModRevision: g.Int63n(g.revision + 1)}
	case 3:
		c.TargetUnion = &pb.Compare_Value{Value: g.value()}
	case 4:
		c.TargetUnion = &pb.Compare_Lease{Lease: g.lease()}
	}
	return c
}

// Deletes from a key on and puts are not mixed: etcd stops, or loses the put at a compaction, where Quorate does not.
func (g *generator) branch(depth int, puts bool) (ops []*pb.RequestOp) {
	for range g.Intn(4) {
		switch n := g.Intn(8); {
		case n < 3 && puts:
			ops = append(ops, &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: g.put()}})
		case n < 5:
			ops = append(ops, &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: g.delete(!puts)}})
		case n < 7 || depth == 0:
			ops = append(ops, &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: g.rangeRequest()}})
		default:
			ops = append(ops, &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: g.txn(depth-1, puts)}})
		}
	}
	return ops
}

func (g *generator) txn(depth int, puts bool) *pb.TxnRequest {
	r := &pb.TxnRequest{Success: g.branch(depth, puts), Failure: g.branch(depth, puts)}
	for range g.Intn(3) {
		r.Compare = append(r.Compare, g.compare())
	}
	if g.one(4) {
		for _, ops := range []*[]*pb.RequestOp{&r.Success, &r.Failure} {
			*ops = []*pb.RequestOp{{Request: &pb.RequestOp_RequestRange{RequestRange: g.rangeRequest()}}}
		}
	}
	return r
}

func main() {
	endpoint := flag.String("endpoint", "127.0.0.1:2379", "a fresh etcd")
	seed := flag.Int64("seed", 1, "of the history")
	count := flag.Int("requests", 2000, "how many")
	flag.Parse()
	conn, err := grpc.NewClient(*endpoint, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		log.Fatal(err)
	}
	kv, lease, maintenance := pb.NewKVClient(conn), pb.NewLeaseClient(conn), pb.NewMaintenanceClient(conn)
	g := &generator{rand.New(rand.NewSource(*seed)), 1, -1}
	ctx := context.Background()
	out := bufio.NewWriter(os.Stdout)
	for range *count {
		var kind string
		var request proto.Message
		var header *pb.ResponseHeader
		var answer proto.Message
		var err error
		switch n := g.Intn(100); {
		case n < 30:
			r := g.put()
			resp, e := kv.Put(ctx, r)
			kind, request, answer, err, header = "put", r, resp, e, resp.GetHeader()
		case n < 42:
			r := g.delete(true)
			resp, e := kv.DeleteRange(ctx, r)
			kind, request, answer, err, header = "delete", r, resp, e, resp.GetHeader()
		case n < 64:
			r := g.txn(2, !g.one(4))
			resp, e := kv.Txn(ctx, r)
			kind, request, answer, err, header = "txn", r, resp, e, resp.GetHeader()
		case n < 80:
			r := g.rangeRequest()
			resp, e := kv.Range(ctx, r)
			kind, request, answer, err, header = "range", r, resp, e, resp.GetHeader()
		case n < 85:
			r := &pb.LeaseGrantRequest{ID: []int64{1, 2, -1}[g.Intn(3)], TTL: 5000}
			resp, e := lease.LeaseGrant(ctx, r)
			kind, request, answer, err, header = "grant", r, resp, e, resp.GetHeader()
		case n < 87:
			r := &pb.LeaseRevokeRequest{ID: []int64{1, 2, -1}[g.Intn(3)]}
			resp, e := lease.LeaseRevoke(ctx, r)
			kind, request, answer, err, header = "revoke", r, resp, e, resp.GetHeader()
		case n < 90:
			r := &pb.CompactionRequest{Revision: max(g.revision-g.Int63n(40)+1, 0), Physical: true}
			if g.one(4) {
				r.Revision = g.revision
			}
			resp, e := kv.Compact(ctx, r)
			if e == nil {
				g.compacted = r.Revision
			}
			kind, request, answer, err, header = "compact", r, resp, e, resp.GetHeader()
		default:
			r := &pb.HashKVRequest{}
			if g.one(2) {
				low := max(g.compacted, 0)
				r.Revision = low + g.Int63n(g.revision-low+1)
			}
			resp, e := maintenance.HashKV(ctx, r)
			kind, request, answer, err, header = "hash", r, resp, e, resp.GetHeader()
		}
		body, e := proto.Marshal(request)
		if e != nil {
			log.Fatal(e)
		}
		if err != nil {
			fmt.Fprintf(out, "%s %s error %s\n", kind, dash(body), status.Convert(err).Message())
			continue
		}
		g.revision = header.Revision
		header.ClusterId, header.MemberId, header.RaftTerm = 0, 0, 0
		reply, e := proto.Marshal(answer)
		if e != nil {
			log.Fatal(e)
		}
		fmt.Fprintf(out, "%s %s ok %s\n", kind, dash(body), dash(reply))
	}
	if err := out.Flush(); err != nil {
		log.Fatal(err)
	}
}

func dash(body []byte) string {
	if len(body) == 0 {
		return "-"
	}
	return hex.EncodeToString(body)
}
