/* The tag of C++ exceptions, which the compiler expects its runtime to define: one pointer. */
__asm__(".tagtype __cpp_exception i32\n"
        ".globl __cpp_exception\n"
        "__cpp_exception:\n");
