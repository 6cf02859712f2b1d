// referrers-registry serves go-containerregistry's in-memory registry, with
// the referrers API, over plain HTTP. It is a test tool: it keeps everything
// in memory and asks nobody for a password.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "address and port to listen on; port 0 takes a free one")
	flag.Parse()
	if flag.NArg() != 0 {
		fmt.Fprintf(os.Stderr, "referrers-registry: unexpected argument %q\n", flag.Arg(0))
		os.Exit(2)
	}
	if err := serve(*listen); err != nil {
		fmt.Fprintf(os.Stderr, "referrers-registry: %v\n", err)
		os.Exit(1)
	}
}

func serve(address string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	quiet := log.New(io.Discard, "", 0)
	server := &http.Server{
		Handler: registry.New(
			registry.WithReferrersSupport(true),
			registry.Logger(quiet),
		),
		ErrorLog:          quiet,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
	}

	stop, forget := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer forget()
	go func() {
		<-stop.Done()
		_ = server.Close()
	}()

	fmt.Printf("listening on %s\n", listener.Addr())
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
