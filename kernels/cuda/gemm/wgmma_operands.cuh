// How are the accumulators of a wgmma named in its asm? Eight at a time: by their places in the
// text (FATHOM_P0 is %0 to %7) and as registers of the array d (FATHOM_D8(0) is d[0] to d[7]); all
// 128 of the widest by FATHOM_ALL_P and FATHOM_ALL_D. PTX knows no loops and the text is a literal,
// so these are macros.
#pragma once

#define FATHOM_P0 "%0, %1, %2, %3, %4, %5, %6, %7"
#define FATHOM_P1 "%8, %9, %10, %11, %12, %13, %14, %15"
#define FATHOM_P2 "%16, %17, %18, %19, %20, %21, %22, %23"
#define FATHOM_P3 "%24, %25, %26, %27, %28, %29, %30, %31"
#define FATHOM_P4 "%32, %33, %34, %35, %36, %37, %38, %39"
#define FATHOM_P5 "%40, %41, %42, %43, %44, %45, %46, %47"
#define FATHOM_P6 "%48, %49, %50, %51, %52, %53, %54, %55"
#define FATHOM_P7 "%56, %57, %58, %59, %60, %61, %62, %63"
#define FATHOM_P8 "%64, %65, %66, %67, %68, %69, %70, %71"
#define FATHOM_P9 "%72, %73, %74, %75, %76, %77, %78, %79"
#define FATHOM_P10 "%80, %81, %82, %83, %84, %85, %86, %87"
#define FATHOM_P11 "%88, %89, %90, %91, %92, %93, %94, %95"
#define FATHOM_P12 "%96, %97, %98, %99, %100, %101, %102, %103"
#define FATHOM_P13 "%104, %105, %106, %107, %108, %109, %110, %111"
#define FATHOM_P14 "%112, %113, %114, %115, %116, %117, %118, %119"
#define FATHOM_P15 "%120, %121, %122, %123, %124, %125, %126, %127"
#define FATHOM_D8(i)                                                                  \
  "+f"(d[i]), "+f"(d[(i) + 1]), "+f"(d[(i) + 2]), "+f"(d[(i) + 3]), "+f"(d[(i) + 4]), \
      "+f"(d[(i) + 5]), "+f"(d[(i) + 6]), "+f"(d[(i) + 7])
#define FATHOM_ALL_P                                                                    \
  FATHOM_P0 ", " FATHOM_P1 ", " FATHOM_P2 ", " FATHOM_P3 ", " FATHOM_P4 ", " FATHOM_P5  \
            ", " FATHOM_P6 ", " FATHOM_P7 ", " FATHOM_P8 ", " FATHOM_P9 ", " FATHOM_P10 \
            ", " FATHOM_P11 ", " FATHOM_P12 ", " FATHOM_P13 ", " FATHOM_P14 ", " FATHOM_P15
#define FATHOM_ALL_D                                                                            \
  FATHOM_D8(0), FATHOM_D8(8), FATHOM_D8(16), FATHOM_D8(24), FATHOM_D8(32), FATHOM_D8(40),       \
      FATHOM_D8(48), FATHOM_D8(56), FATHOM_D8(64), FATHOM_D8(72), FATHOM_D8(80), FATHOM_D8(88), \
      FATHOM_D8(96), FATHOM_D8(104), FATHOM_D8(112), FATHOM_D8(120)
