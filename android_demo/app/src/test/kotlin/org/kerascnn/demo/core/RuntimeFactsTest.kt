package org.kerascnn.demo.core

import java.nio.ByteBuffer
import java.nio.ByteOrder
import org.junit.Assert.assertEquals
import org.junit.Assert.assertNotNull
import org.junit.Assert.assertNull
import org.junit.Test

class RuntimeFactsTest {
    /** A model of a graph with so many operations, as flatbuffers lay it out, and nothing else. */
    private fun file(operations: Int): ByteBuffer {
        val made = ByteBuffer.allocate(64).order(ByteOrder.LITTLE_ENDIAN)
        made.putInt(0, 20).put(4, 'T'.code.toByte())
        // Names of the model's fields: of three, the third is at 4.
        for ((at, number) in listOf(8 to 10, 10 to 8, 12 to 0, 14 to 0, 16 to 4)) made.putShort(at, number.toShort())
        made.putInt(20, 12).putInt(24, 4) // the table; its subgraphs
        made.putInt(28, 1).putInt(32, 16) // one of them
        for ((at, number) in listOf(36 to 12, 38 to 8, 40 to 0, 42 to 0, 44 to 0, 46 to 4)) made.putShort(at, number.toShort())
        made.putInt(48, 12).putInt(52, 4).putInt(56, operations)
        return made
    }

    @Test
    fun `operations are counted in the file`() {
        assertEquals(65, RuntimeFacts.operations(file(65)))
        assertNull(RuntimeFacts.operations(file(0)))
        assertNull(RuntimeFacts.operations(ByteBuffer.allocate(8)))
        assertNull(RuntimeFacts.operations(file(1).putInt(0, 1 shl 30)))
        assertNull(RuntimeFacts.operations(Files.model()))
    }

    @Test
    fun `what a file runs on is told by what is left of its operations`() {
        assertEquals("CPU", RuntimeFacts().used(Accelerator.CPU))
        assertEquals("", RuntimeFacts().used(Accelerator.GPU))
        assertEquals("GPU", RuntimeFacts("", 65, 1).used(Accelerator.GPU))
        assertEquals("GPU in part", RuntimeFacts("", 65, 4).used(Accelerator.GPU))
        assertEquals("CPU", RuntimeFacts("", 65, 65).used(Accelerator.GPU))
    }

    @Test
    fun `the runtime still has what its plan is read from`() {
        val wrapper = Class.forName("org.tensorflow.lite.NativeInterpreterWrapper")
        val field = Class.forName("org.tensorflow.lite.InterpreterImpl").getDeclaredField("wrapper")
        assertEquals(wrapper, field.type)
        assertNotNull(wrapper.getDeclaredMethod("getExecutionPlanLength"))
    }
}
