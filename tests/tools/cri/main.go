// cri-pull asks a container runtime to pull one image over its CRI socket, as
// the kubelet does, and prints what it answers. It is a test tool.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func main() {
	endpoint := flag.String("endpoint", "unix:///run/containerd/containerd.sock", "socket of the container runtime")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: cri-pull [-endpoint unix:///PATH] IMAGE")
		os.Exit(2)
	}
	reference, err := pull(*endpoint, flag.Arg(0))
	if err != nil {
		answer := status.Convert(err)
		fmt.Fprintf(os.Stderr, "cri-pull: %s: %s\n", answer.Code(), answer.Message())
		os.Exit(1)
	}
	fmt.Println(reference)
}

func pull(endpoint, image string) (string, error) {
	connection, err := grpc.NewClient(endpoint, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return "", err
	}
	defer connection.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	answer, err := cri.NewImageServiceClient(connection).PullImage(ctx, &cri.PullImageRequest{
		Image: &cri.ImageSpec{Image: image},
	})
	return answer.GetImageRef(), err
}
