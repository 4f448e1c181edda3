package org.kerascnn.demo.core

import java.io.File
import java.nio.ByteBuffer
import java.util.Locale
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Test

class ResultsCsvTest {
    private val description = ModelDescription.read(Files.model())
    private val row = ResultRow(
        description = description,
        bytes = 1_234_567,
        sha256 = "ab".repeat(32),
        latency = LatencySummary(12.3456789, 18.5, 20.0, 30.25, 50),
        accuracy = 100.0 * 2 / 3,
        pictures = 3,
        threads = 4,
        accelerator = Accelerator.GPU,
        device = "Maker, \"Model\"\u202e  9\n",
        android = "14",
        file = "my run float32.tflite",
        initMs = 4.5,
        rounds = "3/3",
        facts = RuntimeFacts("1.4.1", 65, 2),
        soc = "Maker S1",
        thermalBefore = "none",
        thermalAfter = "light",
        selfTest = SelfTestResult(0.032171, 0.02),
    )
    private val bare = row.copy(
        latency = null, accuracy = null, accelerator = Accelerator.CPU, initMs = null, rounds = "0/3",
        ended = "failed", facts = RuntimeFacts(), soc = "", thermalBefore = "", thermalAfter = "",
        selfTest = null,
    )

    @Test
    fun `the columns are the reader's`() {
        val lines = ResultsCsv.write(listOf(row, bare)).split("\n")
        assertEquals(ResultsCsv.COLUMNS.joinToString(","), lines[0])
        assertEquals(
            ",tiny,float32,tflite,,,,1234567,,accuracy,66.6667,,,,,,,,,12.3457,20,,,4,,,,,,,,," +
                "${row.sha256},\"Maker, \"\"Model\"\" 9\",14,GPU,3,my run float32.tflite," +
                "18.5,30.25,4.5,50,3/3,,GPU in part,65,2,1.4.1,Maker S1,none,light,differs by 3.2%",
            lines[1],
        )
        assertEquals(
            ",tiny,float32,tflite,,,,1234567,,,,,,,,,,,,,,,,4,,,,,,,,," +
                "${row.sha256},\"Maker, \"\"Model\"\" 9\",14,CPU,,my run float32.tflite," +
                ",,,,0/3,failed,CPU,,,,,,,",
            lines[2],
        )
        assertEquals(listOf(""), lines.drop(3))
        // tests/test_android.py reads it again.
        System.getProperty("kerascnn.golden").orEmpty().ifEmpty { null }?.let { folder ->
            File(folder, "results.csv").writeText(ResultsCsv.write(listOf(row)))
        }
    }

    @Test
    fun `numbers are the same in every language`() {
        val before = Locale.getDefault()
        val wanted = ResultsCsv.write(listOf(row))
        try {
            Locale.setDefault(Locale.forLanguageTag("ar-EG-u-nu-arab"))
            assertEquals(wanted, ResultsCsv.write(listOf(row)))
            val digest = ResultsCsv.sha256(ByteBuffer.wrap("abc".toByteArray()))
            assertEquals("ba7816bf", digest.take(8))
        } finally {
            Locale.setDefault(before)
        }
    }

    @Test
    fun `no cell is a formula`() {
        for (begin in listOf("=", "+", "-", "@", "\t=", " @")) {
            val text = ResultsCsv.write(listOf(row.copy(file = "${begin}1.tflite")))
            val cells = text.trimEnd().lines().last().split(",")
            assertTrue(text, "'${begin.trim()}1.tflite" in cells)
        }
    }

    @Test
    fun `a name is as long as the reader takes`() {
        val text = ResultsCsv.write(listOf(row.copy(device = "x".repeat(100))))
        assertEquals(80, text.count { it == 'x' } - "max_logit_diff".count { it == 'x' })
    }
}
